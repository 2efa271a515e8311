"""Installs a migration in front of a function: as a decorator, or from outside by the function's name."""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from operator import attrgetter
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

from migration.model.declaration import Migration
from migration.model.errors import TargetNotFoundError
from migration.model.model import NoticeKind
from migration.routing.runtime import Runtime
from migration.routing.shim import Shim

P = ParamSpec("P")
R = TypeVar("R")


class BypassWarning(UserWarning):
    """A module imported the legacy function by name before the migration was installed, and bypasses it."""


def migrate(migration: Migration, *, runtime: Runtime | None = None) -> Callable[[Callable[P, R]], Shim[P, R]]:
    """Decorate a legacy function: its callers stay as they are and can also `await f.aio(...)`.

    Args:
        migration: the declaration.
        runtime: decides and observes; the runtime of the process (`use_runtime`) if None.
    """

    def decorate(legacy: Callable[P, R]) -> Shim[P, R]:
        return Shim(migration, legacy, runtime)

    return decorate


def install(target: str, migration: Migration, *, runtime: Runtime | None = None) -> Shim[..., Any]:
    """Put a migration in front of the function at `"pkg.mod:func"` or `"pkg.mod:Class.method"`.

    An asynchronous twin `name_async` is added beside it where there is none, because callers probe for it. Installing
    again at the same place replaces the migration there.

    Raises:
        TargetNotFoundError: there is no such function.
        DeclarationError: it is asynchronous already.

    Warns:
        BypassWarning: a module holds the bare function under a name of its own; its calls are not routed.
    """
    owner, name = owner_of(target)
    legacy, static = _legacy_at(target, owner, name)
    shim: Shim[..., Any] = Shim(migration, legacy, runtime)
    _put(owner, name, shim, static=static)
    _add_twin(owner, name, shim, static=static)
    _warn_of_bypasses(target, shim)
    return shim


def uninstall(target: str) -> None:
    """Remove a migration: the legacy function is back in its place.

    Raises:
        TargetNotFoundError: there is no migration at `target`.
    """
    owner, name = owner_of(target)
    found = vars(owner).get(name)
    if not isinstance(getattr(found, "__func__", found), Shim):
        raise TargetNotFoundError(target, "no migration is installed there")
    legacy, static = _legacy_at(target, owner, name)
    if _inherits(owner, name, legacy):
        delattr(owner, name)
    else:
        _put(owner, name, legacy, static=static)
    if _is_twin(vars(owner).get(_twin_name(name))):
        delattr(owner, _twin_name(name))


def _legacy_at(target: str, owner: Any, name: str) -> tuple[Callable[..., Any], bool]:
    """The function there or behind the shim there, and whether it is a static method."""
    found = inspect.getattr_static(owner, name, None)
    if found is None:
        raise TargetNotFoundError(target, f"{owner!r} has no attribute {name!r}")
    static, legacy = isinstance(found, staticmethod), _bare(found)
    if not inspect.isfunction(legacy):
        raise TargetNotFoundError(target, f"it is of type {type(legacy).__name__}, not a function")
    return legacy, static


def _inherits(owner: Any, name: str, legacy: Callable[..., Any]) -> bool:
    """Whether `owner` inherits the legacy function from a base class."""
    inherited = (vars(base)[name] for base in getattr(owner, "__mro__", ())[1:] if name in vars(base))
    return _bare(next(inherited, None)) is legacy


def _bare(found: Any) -> Any:
    """The function inside a static method or a shim."""
    inner = found.__func__ if isinstance(found, staticmethod) else found
    return inner.legacy if isinstance(inner, Shim) else inner


def _put(owner: Any, name: str, function: Callable[..., Any], *, static: bool) -> None:
    setattr(owner, name, staticmethod(function) if static else function)


def owner_of(target: str) -> tuple[Any, str]:
    """The module or class that holds a target, and the target's name there.

    Raises:
        TargetNotFoundError: there is no such module or class.
    """
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise TargetNotFoundError(target, "it does not have two parts")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise TargetNotFoundError(target, str(error)) from error
    outer, _, name = path.rpartition(".")
    try:
        return (attrgetter(outer)(module) if outer else module), name
    except AttributeError as error:
        raise TargetNotFoundError(target, str(error)) from error


def _twin_name(name: str) -> str:
    return f"{name}_async"


def _add_twin(owner: Any, name: str, shim: Shim[..., Any], *, static: bool) -> None:
    twin_name = _twin_name(name)
    existing = inspect.getattr_static(owner, twin_name, None)
    if existing is not None and not _is_twin(existing):
        return  # the module has an asynchronous way of its own

    async def twin(*args: Any, **kwargs: Any) -> Any:
        return await shim.aio(*args, **kwargs)

    twin.__name__, twin.__doc__, twin.__module__ = twin_name, shim.__doc__, shim.legacy.__module__
    twin.__qualname__ = _twin_name(shim.legacy.__qualname__)
    twin.__signature__ = inspect.signature(shim.legacy)  # type: ignore[attr-defined]  # honoured by inspect
    twin._twin_of = shim  # type: ignore[attr-defined]  # noqa: SLF001  # marks it as this module's
    _put(owner, twin_name, twin, static=static)


def _is_twin(found: Any) -> bool:
    return hasattr(getattr(found, "__func__", found), "_twin_of")


def _warn_of_bypasses(target: str, shim: Shim[..., Any]) -> None:
    for holder in _holders(shim.legacy):
        text = (
            f"{holder} holds the bare function of {target}, taken by `from ... import` before the migration was "
            "installed: its calls are not routed; install earlier, or decorate the function"
        )
        shim.runtime.notice(NoticeKind.BYPASSED, shim.migration.name, text)
        warnings.warn(text, BypassWarning, stacklevel=3)


def _holders(legacy: Callable[..., Any]) -> Iterator[str]:
    """`module.name` of every module global that is the bare function."""
    modules = {id(module): (name, module) for name, module in reversed(list(sys.modules.items()))}
    for module_name, module in modules.values():  # each once: a script is `__main__` and `__mp_main__`
        if isinstance(module, ModuleType):
            for name, value in list(vars(module).items()):
                if value is legacy:
                    yield f"{module_name}.{name}"
