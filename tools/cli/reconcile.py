"""`shim reconcile`: what is unfinished, why, and what is done about it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shim.cli.exits import ExitCode
from shim.cli.mismatches import parse_duration
from shim.cli.output import note, print_json, printable, say
from tools.cli.session import sandbox_home, sandbox_lock
from tools.recovery import Orphan, Resolution, Step, find_orphans, recover, remove_orphans
from tools.sandbox import running_sandbox
from tools.sandbox.process import sandboxed
from tools.settings import Settings, get_settings

_LOCK_SECONDS = 60.0
_OPEN = frozenset({Step.WAIT, Step.UNKNOWN})


def run(*, apply: bool, orphans: bool, older_than: str, as_json: bool) -> int:
    """Recover, look for orphans if asked to, and show it.

    Raises:
        ToolsError: the journal or the storage cannot be used.
    """
    age = parse_duration(older_than)
    with _services_in_force() as settings:
        found, there, unknown = asyncio.run(_reconciled(settings, apply=apply, orphans=orphans, age=age))
    if as_json:
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
    try:
        found = await recover(settings, apply=apply)
        there, unknown = list[Orphan](), list[str]()
        if orphans:
            look = remove_orphans if apply else find_orphans
            there, unknown = await look(settings, older_than=age)
        return found, there, unknown
    finally:
        await _close_pool()


async def _close_pool() -> None:
    """Close the connection pool of uploads that were repeated by the new implementation, if there were any."""
    pool = sys.modules.get("tools.transport.connections")
    if pool is not None:
        await pool.cleanup_http_session()


@contextmanager
def _services_in_force() -> Iterator[Settings]:
    """The configured services; without any provider's key the sandbox, where `ask` and `upload` went."""
    settings = get_settings()
    if settings.kimi_api_key is not None or settings.glm_api_key is not None:
        yield settings
        return
    home = sandbox_home(settings)
    note("KIMI_API_KEY and GLM_API_KEY are not set: looking at the local sandbox, nothing leaves this machine")
    with sandbox_lock(home, wait_seconds=_LOCK_SECONDS), running_sandbox(home) as sandbox:
        yield sandboxed(settings, sandbox)


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
    table = _table("begun", "file", "to", "by", "state", "done" if apply else "to be done", "why")
    for each in found:
        step = f"{each.step} (failed)" if each.trouble else str(each.step)
        why = each.reason if each.trouble is None else f"{each.reason}; {each.trouble}"
        name = Text(printable(each.filename))
        table.add_row(_when(each.began_at), name, each.provider, each.side, each.state, step, Text(printable(why)))
    Console(highlight=False).print(table)
    if not apply and any(each.step not in _OPEN for each in found):
        say("Nothing was changed; `shim reconcile --apply` does what is to be done.")


def _print_orphans(there: Sequence[Orphan], unknown: Sequence[str], *, apply: bool) -> None:
    for told in unknown:
        say(f"Not looked for orphans: {told}")
    if not there:
        say("There are no orphans.")
        return
    table = _table("made", "what", "of", "which", "file", "done" if apply else "to be done", "why")
    for each in there:
        why = "; ".join(filter(None, (each.reason, each.kept_because, each.trouble)))
        named = (Text(printable(each.name)), Text(printable(each.filename)))
        table.add_row(_when(each.created_at), each.kind, each.provider, *named, _deed(each), Text(printable(why)))
    Console(highlight=False).print(table)
    if not apply and any(each.kept_because is None for each in there):
        say("Nothing was changed; `shim reconcile --orphans --apply` does what is to be done.")


def _deed(orphan: Orphan) -> str:
    if orphan.kept_because is not None:
        return "leave alone"
    deed = "mark as deleted" if orphan.kind == "row" else "remove"
    return f"{deed} (failed)" if orphan.trouble else deed


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
