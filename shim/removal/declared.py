"""The migrations of a monolith, as it declares them."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migration import Migration, Shim
from shim.removal.sources import DeclarationsNotFoundError, SourceError, UnknownMigrationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One migration, with the functions that are switched by it.

    Attributes:
        name: of the migration and its flag.
        targets: its declarations, by the function in front of which each is installed (`pkg.mod:func`).
        module: the module that declares it.
    """

    name: str
    targets: Mapping[str, Migration]
    module: str


def declared(where: str, root: Path) -> dict[str, Declared]:
    """All migrations of the mapping `where` (`pkg.mod:NAME`), by name.

    Args:
        where: the mapping.
        root: the folder of the sources, from which they are imported.

    Raises:
        DeclarationsNotFoundError: there is no such mapping.
    """
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    module_name, colon, attribute = where.partition(":")
    if not colon:
        raise DeclarationsNotFoundError(where, "it has not two parts")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise DeclarationsNotFoundError(where, str(error)) from error
    if not isinstance(found, Mapping) or not all(isinstance(each, Migration) for each in found.values()):
        raise DeclarationsNotFoundError(where, f"it is a {type(found).__name__}")
    names = dict.fromkeys(migration.name for migration in found.values())
    return {
        name: Declared(
            name=name,
            targets={target: each for target, each in found.items() if each.name == name},
            module=module_name,
        )
        for name in names
    }


def one_declared(name: str, where: str, root: Path) -> Declared:
    """The migration with this name.

    Raises:
        UnknownMigrationError: there is none.
        DeclarationsNotFoundError: there is no such mapping.
    """
    all_of_them = declared(where, root)
    if name not in all_of_them:
        raise UnknownMigrationError(name, tuple(all_of_them))
    return all_of_them[name]


def legacy_of(target: str) -> Callable[..., Any]:
    """The legacy function at a target, also if a migration stands in front of it or a base class defines it.

    Raises:
        SourceError: there is no such function.
    """
    module_name, _, path = target.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for part in path.split("."):
            found = inspect.getattr_static(found, part)
    except (ImportError, AttributeError) as error:
        raise SourceError(target, str(error)) from error
    found = getattr(found, "__func__", found)
    function = found.legacy if isinstance(found, Shim) else found
    if not inspect.isfunction(function):
        raise SourceError(target, f"it is a {type(function).__name__}, not a function")
    return function
