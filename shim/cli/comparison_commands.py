"""What can be typed about comparisons: to make some, to see what they found, to remove what they left."""

# ruff: noqa: PLC0415  # each command is imported when it is used, so that help is quick

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shim.cli.choices import ComparedFault, RecordedVerdict, UploadEntrance, UploadProvider
from shim.cli.groups import ListByDefault
from shim.cli.options import JsonOption, JUnitOption

comparison_app = typer.Typer(rich_markup_mode=None)

mismatches_app = typer.Typer(
    cls=ListByDefault,
    help="List where the two implementations were seen to differ. `list` may be left out; `show` shows one comparison.",
    rich_markup_mode=None,
)
comparison_app.add_typer(mismatches_app, name="mismatches")

shadows_app = typer.Typer(help="What shadows made that really uploaded (SHADOW_MODE).", rich_markup_mode=None)
comparison_app.add_typer(shadows_app, name="shadows")


@comparison_app.command()
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
    """Compare both implementations on files, in a sandbox. No key, no network. Ends with 6 if they differ."""
    from tools.cli.compare import Choice, run

    choice = Choice(
        providers=tuple(provider or UploadProvider),
        entrances=tuple(entrance or [UploadEntrance.FUNCTION]),
        fault=fault,
        times=times,
    )
    return run(files or [], choice, generated=generated, junit=junit, as_json=json)


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
    """List where they were seen to differ, grouped by cause."""
    from shim.cli.mismatches import run, show_noise

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
    from shim.cli.mismatches import show

    return show(number, as_json=json)


@shadows_app.callback(invoke_without_command=True)
def shadows_root(context: typer.Context) -> None:
    """Without a command, show what there is."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@shadows_app.command("clean")
def shadows_clean(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look, and remove nothing.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Strike off what cannot be removed: somebody has looked after it by hand.")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Remove what live shadows left behind. Their process was killed or a service away. Ends with 1 if any stays."""
    from shim.cli.shadows import run

    return run(dry_run=dry_run, forget=forget, as_json=json)
