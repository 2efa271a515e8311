"""What can be typed. Each command lives in a module of its own, imported when it is used, so that help is quick."""

# ruff: noqa: PLC0415  # the imports within functions are the point of this module, as its docstring says

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from shim.cli.choices import UploadProvider
from shim.cli.comparison_commands import comparison_app
from shim.cli.console_commands import console_app
from shim.cli.errors import explain as explained
from shim.cli.exits import ExitCode, exit_codes_help
from shim.cli.finding import searching
from shim.cli.flags_commands import flags_app
from shim.cli.guard_commands import guard_app
from shim.cli.mcp_commands import mcp_app
from shim.cli.options import JsonOption
from shim.cli.output import configure_logging, note
from shim.cli.removal_commands import removal_app
from shim.cli.rollout_commands import rollout_app
from shim.cli.view_commands import view_app
from tools.cli.reconcile_commands import reconcile_app
from tools.cli.schema_commands import schema_app

_logger = logging.getLogger(__name__)

app = typer.Typer(
    name="shim",
    help="Uploads files to Kimi and GLM through a migration that can be watched, steered and taken back.\n\n"
    "Nothing needs to be configured: without the providers' keys a sandbox on this machine stands in for them.",
    epilog=exit_codes_help(),
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(flags_app, name="flags")
app.add_typer(guard_app)
app.add_typer(mcp_app)
app.add_typer(view_app)
app.add_typer(comparison_app)
app.add_typer(console_app)
app.add_typer(rollout_app, name="rollout")
app.add_typer(reconcile_app)
app.add_typer(removal_app)
app.add_typer(schema_app)


class AskedProvider(StrEnum):
    """Who is asked; `auto` is Kimi, then GLM."""

    AUTO = "auto"
    KIMI = "kimi"
    GLM = "glm"


Files = Annotated[list[Path], typer.Argument(metavar="FILE", help="Files to upload.")]


@app.callback()
def root(
    *,
    app: Annotated[
        str | None, typer.Option("--app", metavar="PKG.MOD:APP", help="The application; else SHIM_APP or pyproject.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the program's own log, and tracebacks.")] = False,
) -> None:
    """Set up what all commands share."""
    del app  # it was looked for before: an application has commands of its own
    configure_logging(debug=debug)


@app.command()
def ask(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file that the question is about.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question, in quotes.")],
    *,
    provider: Annotated[AskedProvider, typer.Option(help="Who is asked first.")] = AskedProvider.AUTO,
    model: Annotated[str | None, typer.Option(help="The model to ask; default: the provider's configured one.")] = None,
    json: JsonOption = False,
) -> int:
    """Ask a question about a file."""
    from tools.cli.ask import run

    return run(file, question, provider=provider.value, model=model, as_json=json)


@app.command()
def upload(
    files: Files,
    *,
    provider: Annotated[UploadProvider, typer.Option(help="Where the files go.")] = UploadProvider.KIMI,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Files under way at once.")] = 4,
    json: JsonOption = False,
) -> int:
    """Upload files. Ctrl-C begins no further file and brings those under way to their end."""
    from tools.cli.upload import run

    return run(files, provider=provider.value, concurrency=concurrency, as_json=json)


@app.command()
def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew each second, until Ctrl-C.")] = False,
    json: JsonOption = False,
) -> int:
    """Show where each migration stands on this machine. With --watch, --json prints one line a second."""
    from shim.cli.status import run

    return run(watch=watch, as_json=json)


@app.command()
def demo(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="Default: documents of this repository.")
    ] = None,
    *,
    uploads: Annotated[int, typer.Option(min=1, max=5000, help="Uploads at each percentage.")] = 120,
    big_megabytes: Annotated[int, typer.Option(min=1, max=100, help="Size of the one large file.")] = 50,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show each comparison.")] = False,
    json: JsonOption = False,
) -> int:
    """Show the migration on real files, in a sandbox. From 0 to 1, 10, 50, 100 % and back, in about a minute."""
    from tools.cli.demo import run

    return run(files or [], uploads=uploads, big_megabytes=big_megabytes, verbose=verbose, as_json=json)


@app.command()
def sandbox(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on loopback; 0 takes a free one.")] = 0,
    home: Annotated[Path | None, typer.Option(help="Folder of its state; default: SHIM_HOME/sandbox.")] = None,
    json: JsonOption = False,
) -> int:
    """Run the stand-ins of Kimi, GLM and Supabase until Ctrl-C. Prints how to use them."""
    from tools.cli.sandbox import run

    return run(port=port, home=home, as_json=json)


@app.command()
def bench(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Two minutes instead of an hour; leaves docs/ alone.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="ROW", help="Measure this only; may be given several times.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Measure uploads and routed calls beside other ways. Writes docs/benchmarks.md; needs the repository."""
    from tools.cli.bench import run

    return run(quick=quick, only=only or [], as_json=json)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, that of the process by default. Every error is one line on standard error and a code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    with searching(_application_in(given)):
        return _run(given)


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


def _run(given: Sequence[str]) -> int:
    command = typer.main.get_command(app)
    try:
        code = int(command.main(list(given) or ["--help"], prog_name="shim", standalone_mode=False) or ExitCode.OK)
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
