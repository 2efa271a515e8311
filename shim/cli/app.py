"""What can be typed: the operators' commands, which work for any application, and those of the application."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from shim.cli.conventions import CommandError, ExitCode, exit_codes_help
from shim.cli.conventions import explain as explained
from shim.cli.decisions import decisions, explain, replay, resume
from shim.cli.drill import drill
from shim.cli.finding import NoApplicationError, application, load, searching
from shim.cli.flags import flags_app
from shim.cli.init import init
from shim.cli.mismatches import mismatches_app
from shim.cli.output import configure_logging, note, print_anything, say
from shim.cli.removal import callers, ready, remove
from shim.cli.rollout import rollout_app
from shim.cli.serving import console, mcp, report
from shim.cli.status import status

_logger = logging.getLogger(__name__)

OPERATORS: Mapping[str, Callable[..., int] | typer.Typer] = {
    "init": init,
    "status": status,
    "flags": flags_app,
    "rollout": rollout_app,
    "mismatches": mismatches_app,
    "decisions": decisions,
    "explain": explain,
    "replay": replay,
    "resume": resume,
    "drill": drill,
    "console": console,
    "report": report,
    "callers": callers,
    "ready": ready,
    "remove": remove,
    "mcp": mcp,
}
"""The operators' commands."""

GONE = {"top": "`shim status --watch` shows the migrations each second, `shim console` what both sides do"}
"""Commands that there were, and what to use instead."""


class _Root(TyperGroup):
    """Says where to go when a command is not there."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0] if args else ""
        if name in GONE:
            raise CommandError(f"there is no `shim {name}` any more: {GONE[name]}", ExitCode.USAGE)
        if name not in self.commands and not name.startswith("-"):
            try:
                application()
            except NoApplicationError as error:
                raise CommandError(f"no command {name!r}: {error}", ExitCode.USAGE) from error
        return super().resolve_command(ctx, args)


def _print_version(asked: bool) -> None:  # noqa: FBT001  # typer's signature
    """The version of the package that `shim` was installed from."""
    if asked:
        names = metadata.packages_distributions().get("shim", ["not installed"])
        say(f"{names[0]} {metadata.version(names[0])}" if names != ["not installed"] else "not installed")
        raise typer.Exit


def root(
    *,
    app: Annotated[
        str | None,
        typer.Option("--app", metavar="PKG.MOD:APP", help="The application; else SHIM_APP or pyproject.toml says it."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version, and end.", is_eager=True, callback=_print_version)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the program's own log, and tracebacks.")] = False,
) -> None:
    """Set up what all commands share."""
    del app, version  # they were looked at before: an application has commands of its own
    configure_logging(debug=debug)


def commands() -> Any:
    """The command line, with the commands of the application if there is one.

    Raises:
        CommandError: a command of the application cannot be loaded.
    """
    app = typer.Typer(
        name="shim",
        cls=_Root,
        help="Puts a new implementation in a legacy function's place: watched, steered, taken back.\n\n"
        "Without an Unleash server the flags are in a file on this machine.",
        epilog=exit_codes_help(),
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    for name, command in {**OPERATORS, **_of_application()}.items():
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return typer.main.get_command(app)


def _of_application() -> Mapping[str, Callable[..., int] | typer.Typer]:
    try:
        extensions = application().extensions
    except NoApplicationError:
        return {}  # the command that needs one says so
    references = {name: where for extension in extensions for name, where in extension.commands.items()}
    return {name: _loaded(name, reference) for name, reference in references.items()}


def _loaded(name: str, reference: str) -> Any:
    try:
        return load(reference)
    except (ImportError, AttributeError, ValueError) as error:
        raise CommandError(f"the application's command {name!r} cannot be loaded from {reference}: {error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, that of the process by default. Every error is one line on standard error and a code."""
    print_anything()
    given = sys.argv[1:] if arguments is None else list(arguments)
    with searching(_application_in(given)):
        return _run(given or ["--help"])


def _application_in(arguments: Sequence[str]) -> str | None:
    """What `--app` names, before the command."""
    words = iter(arguments)
    for word in words:
        if word == "--app":
            return next(words, None)
        if word.startswith("--app="):
            return word.partition("=")[2]
        if not word.startswith("-"):
            break
    return None


def _run(given: list[str]) -> int:
    try:
        code = int(commands().main(given, prog_name="shim", standalone_mode=False) or ExitCode.OK)
    except TyperException as wrong:
        context = getattr(wrong, "ctx", None)
        path = context.command_path if context else "shim"
        message = " ".join(wrong.format_message().split()).replace(" Value error,", "").rstrip(".")
        note(f"{message} (see `{path} --help`)")
        return wrong.exit_code
    except Exception as error:  # the outermost place: every error becomes one line
        _logger.debug("the command failed", exc_info=True)
        problem = explained(error)
        note(str(problem))
        return problem.code
    if code == ExitCode.INTERRUPTED:
        note("interrupted")
    return code
