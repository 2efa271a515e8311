"""`shim init`: declares a first migration, looks at both functions, and says what to type next."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from shim.cli.conventions import CommandError, ExitCode, JsonOption
from shim.cli.output import finish

_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")

_MODULE = '''"""The migrations of this application."""

from migration import {names}
from shim import Application

app = Application(
    migrations={{
        "{legacy}": Migration(
            name="{name}",
            candidate="{candidate}",{replay}
        ),
    }},
)
'''
_REPLAY = "\n            replay=ReadOnly(),  # it changes nothing, so both sides may run"
_ENTRY = '"{legacy}": Migration(name="{name}", candidate="{candidate}"{replay})'
_PYPROJECT = '\n[tool.shim]\napp = "{app}"\n'


def init(
    legacy: Annotated[str, typer.Argument(metavar="LEGACY", help="The function to be replaced: pkg.mod:func.")],
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE", help="Its replacement: pkg.mod:func.")],
    *,
    name: Annotated[str | None, typer.Option("--name", help="Name of the migration and its flag.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="The module to write; migrations.py beside legacy by default."),
    ] = None,
    read_only: Annotated[
        bool,
        typer.Option("--read-only", help="The function changes nothing: calls can be compared by running both sides."),
    ] = False,
    json: JsonOption = False,
) -> int:
    """Declare a first migration. Looks at both functions, and says what to type next."""
    here = Path.cwd()
    if str(here) not in sys.path:
        sys.path.insert(0, str(here))
    missing = list(_missing(_function(legacy, "LEGACY"), _function(candidate, "CANDIDATE")))
    chosen = name or _name_for(legacy)
    place = _place(file or Path(*legacy.partition(":")[0].split(".")[:-1]) / "migrations.py", here)
    declared = {"legacy": legacy, "candidate": candidate, "name": _checked(chosen, candidate)}
    if place.file.exists():
        entry = _ENTRY.format(**declared, replay=", replay=ReadOnly()" if read_only else "")
        raise CommandError(f"{place.file} exists: name another --file, or add to it {entry}", ExitCode.USAGE)
    names = "Migration, ReadOnly" if read_only else "Migration"
    text = _MODULE.format(**declared, names=names, replay=_REPLAY if read_only else "")
    place.file.parent.mkdir(parents=True, exist_ok=True)
    place.file.write_text(text, encoding="utf-8")
    how = _make_known(place.app, here)
    if not read_only:
        missing.append(
            "no way to compare its calls: `replay=ReadOnly()` if it changes nothing; see docs/migration-stages.md"
        )
    steps = _steps(chosen, place, how, compared=read_only)
    return finish(
        {"file": str(place.file), "name": chosen, "app": place.app, "missing": missing, "next": steps},
        Group(
            Text(f"{place.file} declares {chosen}: {legacy} is to be replaced by {candidate}."),
            *(Text(f"  missing: {each}") for each in missing),
            Text("Next:"),
            *(Text(f"  {number}. {step}") for number, step in enumerate(steps, 1)),
        ),
        as_json=json,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """The module to be written, and how the application in it is named."""

    file: Path
    module: str

    @property
    def app(self) -> str:
        return f"{self.module}:app"


def _place(file: Path, here: Path) -> _Place:
    whole = file.resolve()
    parts = (
        whole.relative_to(here).with_suffix("").parts if whole.is_relative_to(here) and whole.suffix == ".py" else ()
    )
    if not (parts and all(part.isidentifier() for part in parts)):
        raise CommandError(f"{file} is no module that can be imported: name a .py file below {here}", ExitCode.USAGE)
    return _Place(file=whole.relative_to(here), module=".".join(parts))


def _function(target: str, which: str) -> Callable[..., Any]:
    from migration import DeclarationError, MigrationError
    from migration.routing.install import owner_of
    from migration.routing.likeness import returns_coroutine

    if not _TARGET.fullmatch(target):
        raise CommandError(f"{which} is {target!r}; write it as pkg.mod:func or pkg.mod:Class.method", ExitCode.USAGE)
    try:
        owner, name = owner_of(target)
        found = inspect.getattr_static(owner, name, None)
        if found is None:
            raise DeclarationError(f"there is no {name!r}")
        function = found.__func__ if isinstance(found, staticmethod | classmethod) else found
        if not inspect.isfunction(function):
            raise DeclarationError(f"it is of type {type(function).__name__}, not a function")
        returns_coroutine(function)
    except MigrationError as error:
        raise CommandError(f"{which} {target} cannot be used: {error}", ExitCode.USAGE) from error
    return function


def _checked(name: str, candidate: str) -> str:
    from migration import DeclarationError, Migration

    try:
        return Migration(name=name, candidate=candidate).name
    except DeclarationError as error:
        raise CommandError(str(error), ExitCode.USAGE) from error


def _name_for(legacy: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", legacy.partition(":")[2])
    return "new-" + re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


# What the candidate lacks


def _missing(legacy: Callable[..., Any], candidate: Callable[..., Any]) -> Iterator[str]:
    """What a call of legacy could hold that the candidate does not take, or takes otherwise."""
    old, new = inspect.signature(legacy).parameters, inspect.signature(candidate).parameters
    for each in old.values():
        difference = _difference(each, new)
        if difference is not None:
            yield difference
    for name, each in new.items():
        if name not in old and each.default is Parameter.empty and each.kind not in _MANY:
            yield f"the candidate demands `{name}`, which legacy does not know"
    shared = [name for name, each in old.items() if name in new and each.kind is Parameter.POSITIONAL_OR_KEYWORD]
    if shared != [name for name in new if name in shared]:
        yield "the parameters stand in another order"


_MANY = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def _difference(old: Parameter, parameters: Mapping[str, Parameter]) -> str | None:
    """What is wrong with the candidate's parameter for one of legacy's."""
    kinds = {each.kind for each in parameters.values()}
    if old.kind in _MANY:
        return None if old.kind in kinds else f"the candidate takes no `{old}`"
    new = parameters.get(old.name)
    if new is None:
        taken = Parameter.VAR_KEYWORD in kinds and (
            old.kind is Parameter.KEYWORD_ONLY or Parameter.VAR_POSITIONAL in kinds
        )
        return None if taken else f"the candidate has no parameter `{old.name}`"
    if old.kind is not new.kind:
        return f"`{old.name}` is {_kind(old)} in legacy, and {_kind(new)} in the candidate"
    if old.default != new.default:
        return f"`{old.name}` has another default: {_default(old)} in legacy, {_default(new)} in the candidate"
    return None


def _kind(parameter: Parameter) -> str:
    return parameter.kind.description


def _default(parameter: Parameter) -> str:
    return "none" if parameter.default is Parameter.empty else repr(parameter.default)


# What comes next


def _make_known(app: str, here: Path) -> str | None:
    """Enter the application in `pyproject.toml`; what else names it, if that has another entry or is not there."""
    file = here / "pyproject.toml"
    if not file.is_file():
        return f"export SHIM_APP={app}"
    text = file.read_text(encoding="utf-8")
    try:
        entry = tomllib.loads(text).get("tool", {}).get("shim", {})
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"{file} cannot be read: {error}", ExitCode.CONFIGURATION) from error
    if entry:
        return None if entry.get("app") == app else f"export SHIM_APP={app}  # pyproject.toml names {entry.get('app')}"
    file.write_text(text.rstrip("\n") + "\n" + _PYPROJECT.format(app=app), encoding="utf-8")
    return None


def _steps(name: str, place: _Place, how: str | None, *, compared: bool) -> Sequence[str]:
    comparing = (f"shim flags set {name}.shadow 20   # a fifth of the calls is also compared",) if compared else ()
    return [
        f"at the start of your program: from {place.module} import app; app.start()",
        *((how,) if how else ()),
        "shim flags create   # at 0 %: legacy serves every call, and is traced",
        *comparing,
        f"shim flags set {name} 1   # one call in a hundred goes to the candidate",
        "shim status",
    ]
