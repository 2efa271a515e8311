"""`shim audit`: whether what the new implementation has made is there and whole; `--repair` mends the rows."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migration.guard import CandidateResult, GuardStore
from shim.cli.errors import CommandError
from shim.cli.exits import ExitCode
from shim.cli.mismatches import parse_duration
from shim.cli.output import print_json, printable, say
from shim.cli.progress import progress_bar
from shim.wiring import open_guard_store
from tools.cli.session import session
from tools.migrations import NAMES
from tools.recovery.audit import Finding, Remedy, State, audit, repaired, uploads_of
from tools.settings import get_settings
from tools.storage import get_storage
from tools.transport.connections import cleanup_http_session

_STYLES = {State.INTACT: "green", State.REPAIRED: "green", State.QUARANTINED: "yellow"}
_BEGINNINGS = frozenset({"promote", "resume"})
"""Decisions with which a stage begins."""


def run(name: str, *, since: str | None, contents: bool, repair: bool, as_json: bool) -> int:
    """Look at everything, repair what is asked for, show it.

    Raises:
        CommandError: no such migration is declared.
        tools.errors.ToolsError: a service cannot be asked.
    """
    if name not in NAMES:
        raise CommandError(f"no migration is called {name!r}; there are {', '.join(NAMES)}", ExitCode.USAGE)
    store = open_guard_store(get_settings())
    earliest = _stage_began(store, name) if since is None else time.time() - parse_duration(since)
    made = store.made(name, since=earliest)
    findings = _looked_at(made, contents=contents, repair=repair)
    failed = [each for each in made if each.kind is not None]
    if as_json:
        print_json(_document(name, earliest, findings, failed, repair=repair))
    else:
        _print(name, earliest, findings, failed, repair=repair)
    return ExitCode.OK if all(finding.fine for finding in findings) else ExitCode.FAILED


def _looked_at(made: Sequence[CandidateResult], *, contents: bool, repair: bool) -> list[Finding]:
    uploads = uploads_of(made)
    if not uploads:
        return []
    with session(uploads[0].provider), progress_bar() as progress:
        task = progress.add_task("looking", total=len(uploads))
        storage = get_storage()

        async def work() -> list[Finding]:
            try:
                findings = await audit(
                    uploads, get_settings(), storage, contents=contents, on_done=lambda: progress.advance(task)
                )
                return await repaired(findings, storage) if repair else findings
            finally:
                await cleanup_http_session()

        return asyncio.run(work())


def _stage_began(store: GuardStore, name: str) -> float:
    """When the stage began that the last rollback ended, or that goes on; seconds since the epoch."""
    records = store.records(name, limit=1000)
    rollback = next((number for number, record in enumerate(records) if record.action == "rollback"), -1)
    return next((record.at for record in records[rollback + 1 :] if record.action in _BEGINNINGS), 0.0)


def _document(
    name: str, since: float, findings: Sequence[Finding], failed: Sequence[CandidateResult], *, repair: bool
) -> dict[str, object]:
    return {
        "migration": name,
        "since": since,
        "repair": repair,
        "ok": all(finding.fine for finding in findings),
        "counts": dict(Counter(finding.state.value for finding in findings)),
        "failed_calls": dict(Counter(str(each.kind) for each in failed)),
        "uploads": [
            {
                "provider": finding.provider,
                "file_id": finding.file_id,
                "at": finding.at,
                "trace": finding.trace,
                "state": finding.state,
                "problems": finding.problems,
                "remedy": finding.remedy,
            }
            for finding in findings
        ],
    }


def _print(
    name: str, since: float, findings: Sequence[Finding], failed: Sequence[CandidateResult], *, repair: bool
) -> None:
    when = f"since {_when(since)}" if since else "that is known of"
    if not findings:
        say(f"{name}: no upload of the new implementation {when}, so there is nothing to look at.")
    else:
        bad = [finding for finding in findings if finding.state is not State.INTACT]
        if bad:
            Console(highlight=False).print(_table(bad, repair=repair))
        counts = Counter(finding.state for finding in findings)
        told = ", ".join(f"{count} {state}" for state, count in counts.items())
        say(f"{name}: {len(findings)} uploads of the new implementation {when}: {told}")
        if not repair and any(finding.row is not None for finding in findings):
            say(f"Nothing was changed; `shim audit {name} --repair` does what the last column says.")
    if failed:
        say(
            f"{len(failed)} calls of it failed ({_counts(failed)}); what a failed call has left behind is not known "
            "by its id."
        )


def _table(findings: Sequence[Finding], *, repair: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("uploaded", "file", "state", "what is wrong", "done" if repair else "to be done"):
        table.add_column(title, overflow="fold", no_wrap=title in {"uploaded", "state"})
    for finding in findings:
        table.add_row(
            _when(finding.at),
            Text(f"{finding.provider} {printable(finding.file_id)}"),
            Text(finding.state, _STYLES.get(finding.state, "red")),
            Text(printable("; ".join(finding.problems))),
            "" if finding.remedy is Remedy.NONE else finding.remedy,
        )
    return table


def _counts(failed: Sequence[CandidateResult]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in Counter(str(each.kind) for each in failed).items())


def _when(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds")[:19]
