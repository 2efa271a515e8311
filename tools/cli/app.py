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

from tools.cli.choices import ComparedFault, RecordedVerdict, UploadEntrance
from tools.cli.errors import explain as explained
from tools.cli.exits import ExitCode, exit_codes_help
from tools.cli.groups import ListByDefault
from tools.cli.output import configure_logging, note
from tools.cli.rollout_commands import rollout_app

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
flags_app = typer.Typer(
    help="Show and change who serves: the flags in the local file, or on the Unleash server that is configured.",
    rich_markup_mode=None,
)
app.add_typer(flags_app, name="flags")


mismatches_app = typer.Typer(
    cls=ListByDefault,
    help="List where the two implementations were seen to differ (`list` may be left out), or show one comparison.",
    rich_markup_mode=None,
)
app.add_typer(mismatches_app, name="mismatches")
app.add_typer(rollout_app, name="rollout")


shadows_app = typer.Typer(help="What shadows made that really uploaded (SHADOW_MODE).", rich_markup_mode=None)
app.add_typer(shadows_app, name="shadows")


class AskedProvider(StrEnum):
    """Who is asked; `auto` is Kimi, then GLM."""

    AUTO = "auto"
    KIMI = "kimi"
    GLM = "glm"


class UploadProvider(StrEnum):
    """Where files go."""

    KIMI = "kimi"
    GLM = "glm"


class MigrationStage(StrEnum):
    """How far a migration is."""

    OFF = "off"
    DUALWRITE = "dualwrite"
    SHADOW = "shadow"
    LIVE = "live"
    RAMPDOWN = "rampdown"
    COMPLETE = "complete"


class DrillFault(StrEnum):
    """What goes wrong in a drill."""

    ERROR = "error"
    TIMEOUT = "timeout"
    HANG = "hang"
    SLOW = "slow"
    BYTES = "bytes"
    MEMORY = "memory"


JUnitOption = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Also write the result to FILE as JUnit XML.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, one document on one line, and nothing else.")
]
Files = Annotated[list[Path], typer.Argument(metavar="FILE", help="Files to upload.")]
FlagName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the flag.")]

MigrationName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the migration.")]
Number = Annotated[int, typer.Argument(metavar="ID", help="Its number in `shim decisions`.")]


@app.callback()
def root(
    *, debug: Annotated[bool, typer.Option("--debug", help="Show the program's own log, and tracebacks.")] = False
) -> None:
    """Set up what all commands share."""
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
    from tools.cli.status import run

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
    """Show the migration on real files, in a sandbox: 0, 1, 10, 50, 100 % and back. Takes about a minute."""
    from tools.cli.demo import run

    return run(files or [], uploads=uploads, big_megabytes=big_megabytes, verbose=verbose, as_json=json)


@app.command()
def sandbox(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on loopback; 0 takes a free one.")] = 0,
    home: Annotated[Path | None, typer.Option(help="Folder of its state; default: SHIM_HOME/sandbox.")] = None,
    json: JsonOption = False,
) -> int:
    """Run the stand-ins of Kimi, GLM and Supabase until Ctrl-C, and print how to use them."""
    from tools.cli.sandbox import run

    return run(port=port, home=home, as_json=json)


@app.command()
def compare(
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE", help="Files, and folders with files.")] = None,
    *,
    provider: Annotated[
        list[UploadProvider] | None, typer.Option(help="Uploads to this provider only; may be given several times.")
    ] = None,
    entrance: Annotated[
        list[UploadEntrance] | None,
        typer.Option(help="Through this entrance; may be given several times. Default: function."),
    ] = None,
    fault: Annotated[
        ComparedFault | None, typer.Option(help="What the provider (or the storage) answers instead of taking a file.")
    ] = None,
    times: Annotated[
        int | None, typer.Option(min=1, help="To how many requests of a call; default: to every one.")
    ] = None,
    generated: Annotated[
        int, typer.Option(min=0, max=1000, metavar="N", help="Also N files with difficult names and sizes.")
    ] = 0,
    junit: JUnitOption = None,
    json: JsonOption = False,
) -> int:
    """Compare both implementations on files, in a sandbox: no key, no network. Ends with 6 if they differ."""
    from tools.cli.compare import Choice, run

    choice = Choice(
        providers=tuple(provider or UploadProvider),
        entrances=tuple(entrance or [UploadEntrance.FUNCTION]),
        fault=fault,
        times=times,
    )
    return run(files or [], choice, generated=generated, junit=junit, as_json=json)


@app.command()
def bench(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Two minutes instead of an hour; leaves docs/ alone.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="ROW", help="Measure this only; may be given several times.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Measure uploads and routed calls side by side with other ways; write docs/benchmarks.md. Needs the repository."""
    from tools.cli.bench import run

    return run(quick=quick, only=only or [], as_json=json)


@app.command()
def decisions(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of this migration only.")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 20,
    json: JsonOption = False,
) -> int:
    """List what was decided: promotions, freezes and rollbacks, with the reason in a sentence."""
    from tools.cli.decisions import run

    return run(name, limit=limit, as_json=json)


@app.command()
def explain(number: Number, *, json: JsonOption = False) -> int:
    """Show one decision with its figures, the calls behind it, and the evidence over time."""
    from tools.cli.decisions import explain as run

    return run(number, as_json=json)


@app.command()
def replay(number: Number, *, json: JsonOption = False) -> int:
    """Compute a decision anew from what was recorded. Fails if it comes out differently."""
    from tools.cli.decisions import replay as run

    return run(number, as_json=json)


@app.command()
def resume(
    name: MigrationName,
    *,
    because: Annotated[str, typer.Option(metavar="REASON", help="Why it is safe to go on.")],
    json: JsonOption = False,
) -> int:
    """Let the flags decide again about a migration that the guard has rolled back or frozen."""
    from tools.cli.decisions import resume as run

    return run(name, because=because, as_json=json)


@app.command()
def audit(
    name: MigrationName,
    *,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Not older than 90s, 15m, 2h, 3d, ... Default: its last stage.")
    ] = None,
    contents: Annotated[
        bool, typer.Option("--contents", help="Read every stored copy, instead of asking for its hash.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Write rows anew, and mark those as failed that cannot be mended.")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Look whether all that the new implementation has uploaded is there and whole. Ends with 1 if not."""
    from tools.cli.audit import run

    return run(name, since=since, contents=contents, repair=repair, as_json=json)


@app.command()
def drill(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the migration.")] = None,
    *,
    fault: Annotated[DrillFault, typer.Option(help="What goes wrong.")] = DrillFault.ERROR,
    percent: Annotated[
        int, typer.Option(min=1, max=50, help="Share of the uploads that the new implementation gets.")
    ] = 10,
    severity: Annotated[int, typer.Option(min=1, max=100, metavar="PERCENT", help="How many of these go wrong.")] = 100,
    on_server: Annotated[
        bool, typer.Option("--on-server", help="Steer by the configured Unleash server, with flags of the drill's own.")
    ] = False,
    history: Annotated[bool, typer.Option("--history", help="List the drills so far instead.")] = False,
    json: JsonOption = False,
) -> int:
    """Let the new implementation go wrong, in a sandbox, and measure how soon legacy serves again."""
    from tools.cli.drill import Choice, run, show_history

    if history:
        return show_history(name, as_json=json)
    return run(name, Choice(fault=fault.value, percent=percent, severity=severity, on_server=on_server), as_json=json)


@mismatches_app.command("list")
def mismatches_list(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of this migration only.")] = None,
    *,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Not older than 90s, 15m, 2h, 3d, ...")] = None,
    verdict: Annotated[
        list[RecordedVerdict] | None, typer.Option(help="With this verdict; may be given several times.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 20,
    each: Annotated[bool, typer.Option("--each", help="List every comparison, not grouped by cause.")] = False,
    noise: Annotated[
        bool, typer.Option("--noise", help="Instead, show in which fields legacy differs from itself.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="End with 6 if anything is listed.")] = False,
    junit: JUnitOption = None,
    json: JsonOption = False,
) -> int:
    """List where the two implementations were seen to differ, grouped by cause."""
    from tools.cli.mismatches import run, show_noise

    if noise:
        return show_noise(name, as_json=json)
    return run(
        name,
        since=since,
        verdicts=[one.value for one in verdict or []],
        limit=limit,
        each=each,
        check=check,
        junit=junit,
        as_json=json,
    )


@mismatches_app.command("show")
def mismatches_show(
    number: Annotated[int, typer.Argument(metavar="ID", help="Its number in the list.")], *, json: JsonOption = False
) -> int:
    """Show one comparison, both sides next to each other."""
    from tools.cli.mismatches import show

    return show(number, as_json=json)


@shadows_app.callback()
def shadows_root() -> None:
    """Keep `clean` a command of its own: a group with one command would become that command."""


@shadows_app.command("clean")
def shadows_clean(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look, and remove nothing.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Strike off what cannot be removed: somebody has looked after it by hand.")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Remove what live shadows left when their process was killed or a service was away. Ends with 1 if any stays."""
    from tools.cli.shadows import run

    return run(dry_run=dry_run, forget=forget, as_json=json)


@flags_app.command("list")
def flags_list(*, json: JsonOption = False) -> int:
    """Show all flags."""
    from tools.cli import flags

    return flags.show_all(as_json=json)


@flags_app.command("show")
def flags_show(name: FlagName, *, json: JsonOption = False) -> int:
    """Show one flag."""
    from tools.cli import flags

    return flags.show(name, as_json=json)


@flags_app.command("create")
def flags_create(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Default: those of all migrations and of their shadows.")
    ] = None,
    *,
    json: JsonOption = False,
) -> int:
    """Create flags, on with 0 %. One that exists stays as it is."""
    from tools.cli import flags

    return flags.create(name, as_json=json)


@flags_app.command("set")
def flags_set(
    name: FlagName,
    percent: Annotated[int, typer.Argument(metavar="PERCENT", help="Whole number from 0 to 100.")],
    *,
    json: JsonOption = False,
) -> int:
    """Set the percentage of a flag."""
    from tools.cli import flags

    return flags.set_percentage(name, percent, as_json=json)


@flags_app.command("stage")
def flags_stage(
    name: FlagName,
    stage: MigrationStage,
    *,
    percent: Annotated[
        int, typer.Option(min=1, max=100, help="Calls that take the step: are compared, or from `live` on answered.")
    ] = 100,
    json: JsonOption = False,
) -> int:
    """Set both flags of a migration as a stage needs them: NAME and NAME.shadow."""
    from tools.cli import flags

    return flags.set_stage(name, stage.value, percent=percent, as_json=json)


@flags_app.command("on")
def flags_on(name: FlagName, *, json: JsonOption = False) -> int:
    """Turn a flag on, with the percentage that it has."""
    from tools.cli import flags

    return flags.turn_on(name, as_json=json)


@flags_app.command("off")
def flags_off(
    name: FlagName,
    *,
    because: Annotated[str, typer.Option(help="The reason, kept in the flag's description.")] = "by hand",
    json: JsonOption = False,
) -> int:
    """Turn a flag off: everything is served by legacy."""
    from tools.cli import flags

    return flags.turn_off(name, reason=because, as_json=json)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, that of the process by default. Every error is one line on standard error and a code."""
    command = typer.main.get_command(app)
    try:
        given = sys.argv[1:] if arguments is None else list(arguments)
        code = int(command.main(given or ["--help"], prog_name="shim", standalone_mode=False) or ExitCode.OK)
    except TyperException as wrong:
        context = getattr(wrong, "ctx", None)
        path = context.command_path if context else "shim"
        note(f"{' '.join(wrong.format_message().split())} (see `{path} --help`)")
        return wrong.exit_code
    except Exception as error:  # the outermost place: every error becomes one line
        _logger.debug("the command failed", exc_info=True)
        problem = explained(error)
        note(str(problem))
        return problem.code
    if code == ExitCode.INTERRUPTED:
        note("interrupted")
    return code
