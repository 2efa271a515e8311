"""Finds the application that the commands work for: `--app`, `SHIM_APP`, or `[tool.shim]` in `pyproject.toml`."""

from __future__ import annotations

import importlib
import os
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shim.application import Application, names_on_disk
from shim.cli.conventions import CommandError, ExitCode
from shim.errors import ConfigurationError, ShimError

if TYPE_CHECKING:
    from shim.settings import ShimSettings

_VARIABLE = "SHIM_APP"


class NoApplicationError(ShimError):
    """There is no application to work for; the message says how to name one."""

    exit_code = ConfigurationError.exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An application, and where it is.

    Attributes:
        application: what was found.
        reference: its place, `pkg.mod:app`.
    """

    application: Application
    reference: str


def find(option: str | None) -> Found:
    """The application: what `option` names, or the environment, or the nearest `pyproject.toml`.

    Raises:
        NoApplicationError: none is named, or it cannot be loaded.
    """
    if option is not None:
        return _load(option, "--app", Path.cwd())
    if named := os.environ.get(_VARIABLE):
        return _load(named, _VARIABLE, Path.cwd())
    file = next((file for folder in _upwards(Path.cwd()) if (file := folder / "pyproject.toml").is_file()), None)
    if file is not None and (named := _named_in(file)) is not None:
        return _load(named, str(file), file.parent)
    where = "there is no pyproject.toml here or above" if file is None else f"{file} has no such entry"
    raise NoApplicationError(
        f'no application: name it by `shim --app pkg.module:app`, by {_VARIABLE}, or by `[tool.shim] app = "..."` in '
        f"pyproject.toml ({where})"
    )


def load(reference: str) -> Any:
    """The object at `pkg.mod:object`.

    Raises:
        ImportError, AttributeError, ValueError: there is none, or the reference is none.
    """
    module, colon, path = reference.partition(":")
    if not (module and colon and path):
        raise ValueError("write it as pkg.module:name")
    return attrgetter(path)(importlib.import_module(module))


def _upwards(folder: Path) -> Sequence[Path]:
    return (folder, *folder.parents)


def _named_in(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            named = tomllib.load(opened).get("tool", {}).get("shim", {}).get("app")
    except (OSError, ValueError, AttributeError) as error:
        raise NoApplicationError(f"{file} cannot be read: {error}") from error
    return None if named is None else str(named)


def _load(reference: str, where: str, folder: Path) -> Found:
    """Load it, with `folder` among the places of modules as for `python -m`."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        found = load(reference)
    except (Exception, SystemExit) as error:  # the module is the application's own, and may fail in any way
        why = str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        raise NoApplicationError(f"the application {reference} ({where}) cannot be loaded: {why}") from error
    if not isinstance(found, Application):
        raise NoApplicationError(f"{reference} ({where}) is of type {type(found).__name__}, not a shim.Application")
    return Found(application=found, reference=reference)


class _Search:
    """Looks once, when the application is first asked for."""

    def __init__(self, option: str | None) -> None:
        self._option = option
        self._found: Found | NoApplicationError | None = None

    def found(self) -> Found:
        if self._found is None:
            try:
                self._found = find(self._option)
            except NoApplicationError as error:
                self._found = error
        if isinstance(self._found, NoApplicationError):
            raise self._found
        return self._found


_search: ContextVar[_Search] = ContextVar("application_search")


@contextmanager
def searching(option: str | None) -> Iterator[None]:
    """Let `found()` look for the application that `option` names, or else for the one of this place."""
    token = _search.set(_Search(option))
    try:
        yield
    finally:
        _search.reset(token)


def found() -> Found:
    """The application of this command, and where it is.

    Raises:
        NoApplicationError: there is none.
    """
    return _search.get().found()


def application() -> Application:
    """The application of this command.

    Raises:
        NoApplicationError: there is none.
    """
    return found().application


def settings() -> ShimSettings:
    """The configuration in force: the application's, or what any migration has where there is no application.

    Raises:
        ConfigurationError: a variable has a wrong value.
    """
    try:
        return application().settings()
    except NoApplicationError:
        from shim.settings import get_settings  # noqa: PLC0415  # heavy, and help needs none

        return get_settings()


def names() -> tuple[str, ...]:
    """The migrations that the application declares, then those that only the state on disk knows.

    Without an application those on disk alone: what is known there can be looked at and steered from anywhere.
    """
    try:
        return application().names()
    except NoApplicationError:
        return names_on_disk(settings())


def known(name: str) -> str:
    """The name, if a migration is called so.

    Raises:
        NoApplicationError: nothing on disk is, and there is no application that might declare it.
        CommandError: none is.
    """
    found = names()
    if name in found:
        return name
    there_are = ", ".join(application().names()) or "none"
    raise CommandError(f"no migration is called {name!r}; there are {there_are}", ExitCode.USAGE)


def has_command(name: str) -> bool:
    """Whether the application has a command of its own that is called so."""
    try:
        return any(name in extension.commands for extension in application().extensions)
    except NoApplicationError:
        return False
