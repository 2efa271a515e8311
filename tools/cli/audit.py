"""`shim audit`: whether what the candidate has made is there and whole; `--repair` mends the rows."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from migration.guard import CandidateResult, GuardStore
from shim.cli.conventions import ExitCode, JsonOption, MigrationName, parse_duration
from shim.cli.finding import known, settings
from shim.cli.output import local_time, plain_table, print_json, progress_bar, say, show

if TYPE_CHECKING:
    from tools.recovery.audit import AuditFinding

_STYLES = {"intact": "green", "repaired": "green", "quarantined": "yellow"}
_BEGINNINGS = frozenset({"promote", "resume"})
"""Decisions with which a stage begins."""


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
        bool, typer.Option("--repair", help="Write rows again, and mark those as failed that cannot be mended.")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Check that what the candidate has uploaded is there and whole. Ends with 1 if not."""
    from shim.wiring import open_guard_store

    store = open_guard_store(settings())
    name = known(name)
    earliest = _stage_began(store, name) if since is None else time.time() - parse_duration(since)
    made = store.made(name, since=earliest)
    findings = _looked_at(made, contents=contents, repair=repair)
    failed = [each for each in made if each.kind is not None]
    if json:
        print_json(_document(name, earliest, findings, failed, repair=repair))
    else:
        _print(name, earliest, findings, failed, repair=repair)
    return ExitCode.OK if all(finding.fine for finding in findings) else ExitCode.FAILED


def _looked_at(made: Sequence[CandidateResult], *, contents: bool, repair: bool) -> list[AuditFinding]:
    from tools.application import app
    from tools.recovery.audit import audit as look_at
    from tools.recovery.audit import repaired, uploads_of
    from tools.session import session
    from tools.settings import get_settings
    from tools.storage import get_storage
    from tools.transport.connections import cleanup_http_session

    uploads = uploads_of(made)
    if not uploads:
        return []
    with session(app, uploads[0].provider), progress_bar() as progress:
        task = progress.add_task("looking", total=len(uploads))
        storage = get_storage()

        async def work() -> list[AuditFinding]:
            try:
                findings = await look_at(
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
    name: str, since: float, findings: Sequence[AuditFinding], failed: Sequence[CandidateResult], *, repair: bool
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
                "provider": finding.upload.provider,
                "file_id": finding.upload.file_id,
                "at": finding.upload.at,
                "trace": finding.upload.trace,
                "state": finding.state,
                "problems": finding.problems,
                "remedy": finding.remedy,
            }
            for finding in findings
        ],
    }


def _print(
    name: str, since: float, findings: Sequence[AuditFinding], failed: Sequence[CandidateResult], *, repair: bool
) -> None:
    when = f"since {local_time(since)}" if since else "that is known of"
    if not findings:
        say(f"{name}: no upload of the candidate {when}, so there is nothing to look at.")
    else:
        bad = [finding for finding in findings if finding.state.value != "intact"]
        if bad:
            show(_table(bad, repair=repair))
        counts = Counter(finding.state for finding in findings)
        told = ", ".join(f"{count} {state}" for state, count in counts.items())
        say(f"{name}: {len(findings)} uploads of the candidate {when}: {told}")
        if not repair and any(finding.row is not None for finding in findings):
            say(f"Nothing was changed; `shim audit {name} --repair` does what the last column says.")
    if failed:
        say(
            f"{len(failed)} calls of it failed ({_counts(failed)}); what a failed call has left behind is not known "
            "by its id."
        )


def _table(findings: Sequence[AuditFinding], *, repair: bool) -> Table:
    done = "done" if repair else "to be done"
    rows = [
        (
            local_time(finding.upload.at),
            f"{finding.upload.provider} {finding.upload.file_id}",
            Text(finding.state, _STYLES.get(finding.state, "red")),
            "; ".join(finding.problems),
            "" if finding.remedy.value == "none" else finding.remedy,
        )
        for finding in findings
    ]
    return plain_table(("uploaded", "file", "state", "what is wrong", done), rows, whole=("uploaded", "state"))


def _counts(failed: Sequence[CandidateResult]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in Counter(str(each.kind) for each in failed).items())
