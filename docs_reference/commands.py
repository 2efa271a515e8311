"""The pages of commands, from the command line's own help, and of exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any, get_args

from docs_reference import code, page, table
from shim.cli.app import commands
from shim.cli.conventions import MEANINGS
from shim.cli.finding import searching


def commands_page() -> str:
    """Every command with its arguments and options."""
    return page(
        "Commands", "`shim --debug COMMAND` shows the program's own log, and tracebacks.", *_of(_root(), "shim")
    )


def _root() -> Any:
    """The command line with the monolith's own commands."""
    with searching("tools.application:app"):
        return commands()


def _of(command: Any, path: str) -> Iterator[str]:
    inner = getattr(command, "commands", {})
    for name in sorted(inner):
        yield from _of(inner[name], f"{path} {name}")
    if not inner:
        yield _one(command, path)


def _one(command: Any, path: str) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    usage = " ".join([path, *(_usage(each) for each in arguments)])
    rows = [(code(_written(each)), _default(each), _sentence(each.help)) for each in (*arguments, *options)]
    parts = [f"## {path}", code(usage), _sentence(command.help)]
    return "\n\n".join([*parts, table(("", "default", "meaning"), rows)] if rows else parts)


def _usage(argument: Any) -> str:
    name = (argument.metavar or argument.name.upper()) + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _written(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    names = ", ".join(parameter.opts)
    return names if parameter.is_flag else f"{names} {_values(parameter)}"


def _values(option: Any) -> str:
    if option.metavar:
        return str(option.metavar)
    kinds = _kinds(option.type_descriptor.annotation)
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Enum):
            return "|".join(str(each.value) for each in kind)
    return {int: "NUMBER", float: "NUMBER"}.get(kinds[0], "TEXT")


def _kinds(annotation: Any) -> list[Any]:
    """The types in `list[X] | None`."""
    inner = [each for part in get_args(annotation) for each in _kinds(part)]
    return [each for each in inner if each is not type(None)] or [annotation]


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required:
        return "required"
    if value is None or callable(value) or isinstance(value, bool) or value in ((), []) or "Sentinel" in repr(value):
        return ""
    return code(str(getattr(value, "value", value)))


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def exit_codes_page() -> str:
    """Every code with its meaning."""
    return page(
        "Exit codes",
        "Of every command of `shim`. What went wrong stands on standard error in one line; results stand on standard output.",
        table(("code", "name", "meaning"), [(str(code.value), code.name, text) for code, text in MEANINGS.items()]),
    )
