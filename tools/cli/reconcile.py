"""`shim reconcile`: what is unfinished, why, and what is done about it."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from shim.cli.conventions import ExitCode, JsonOption, parse_duration
from shim.cli.output import local_time, plain_table, print_json, say, show

if TYPE_CHECKING:
    from tools.recovery import Orphan, Resolution
    from tools.settings import Settings

_OPEN = ("wait", "unknown")
"""Steps that change nothing."""


def reconcile(
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; else it is only shown what would be done.")] = False,
    orphans: Annotated[
        bool, typer.Option("--orphans", help="Also look for files, copies and rows that belong to no upload.")
    ] = False,
    older_than: Annotated[
        str, typer.Option(metavar="TIME", help="Orphans that are younger are left alone; 30m, 2h, 7d.")
    ] = "1h",
    json: JsonOption = False,
) -> int:
    """Bring uploads to an end that a crash has left open. Finds out what became of them. Ends with 7 if any is left."""
    from tools.session import services

    age = parse_duration(older_than)
    with services("auto") as (settings, _):
        found, there, unknown = asyncio.run(_reconciled(settings, apply=apply, orphans=orphans, age=age))
    if json:
        print_json(
            {
                "applied": apply,
                "uploads": [asdict(each) for each in found],
                "orphans": [asdict(each) for each in there],
                "not_known": unknown,
            }
        )
    else:
        _print_uploads(found, apply=apply)
        if orphans:
            _print_orphans(there, unknown, apply=apply)
    return ExitCode.LEFT if _is_left(found, there, unknown) else ExitCode.OK


async def _reconciled(
    settings: Settings, *, apply: bool, orphans: bool, age: float
) -> tuple[list[Resolution], list[Orphan], list[str]]:
    from tools.application import close_pool
    from tools.recovery import find_orphans, recover, remove_orphans

    try:
        found = await recover(settings, apply=apply)
        there: list[Orphan] = []
        unknown: list[str] = []
        if orphans:
            look = remove_orphans if apply else find_orphans
            there, unknown = await look(settings, older_than=age)
        return found, there, unknown
    finally:
        await close_pool()


def _is_left(found: Sequence[Resolution], there: Sequence[Orphan], unknown: Sequence[str]) -> bool:
    """Whether there is something that is to be done, or cannot be."""
    return (
        any(not each.done for each in found)
        or any(each.kept_because is None and not each.done for each in there)
        or bool(unknown)
    )


def _print_uploads(found: Sequence[Resolution], *, apply: bool) -> None:
    if not found:
        say("No upload is unfinished.")
        return
    rows = []
    for each in found:
        step = f"{each.step} (failed)" if each.trouble else str(each.step)
        why = each.reason if each.trouble is None else f"{each.reason}; {each.trouble}"
        rows.append((local_time(each.began_at), each.filename, each.provider, each.side, each.state, step, why))
    show(plain_table(("begun", "file", "to", "by", "state", "done" if apply else "to be done", "why"), rows))
    if not apply and any(each.step not in _OPEN for each in found):
        say("Nothing was changed; `shim reconcile --apply` does what is to be done.")


def _print_orphans(there: Sequence[Orphan], unknown: Sequence[str], *, apply: bool) -> None:
    for told in unknown:
        say(f"Not looked for orphans: {told}")
    if not there:
        say("There are no orphans.")
        return
    rows = []
    for each in there:
        why = "; ".join(filter(None, (each.reason, each.kept_because, each.trouble)))
        named = (each.name, each.filename)
        rows.append((local_time(each.created_at), each.kind, each.provider, *named, _deed(each), why))
    show(plain_table(("made", "what", "of", "which", "file", "done" if apply else "to be done", "why"), rows))
    if not apply and any(each.kept_because is None for each in there):
        say("Nothing was changed; `shim reconcile --orphans --apply` does what is to be done.")


def _deed(orphan: Orphan) -> str:
    if orphan.kept_because is not None:
        return "leave alone"
    deed = "mark as deleted" if orphan.kind == "row" else "remove"
    return f"{deed} (failed)" if orphan.trouble else deed
