"""`shim ready`: whether legacy can go, as a checklist with figures."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from migration import MigrationError
from migration.store import LedgerReader
from shim.cli.callers import callers_of
from shim.cli.exits import ExitCode
from shim.cli.finding import application, found, settings
from shim.cli.options import JsonOption, MigrationName, MigrationsOption, SourceOption, parse_duration
from shim.cli.output import print_json, printable, show
from shim.cli.status import guard_report

if TYPE_CHECKING:
    from shim.removal.declarations import Declared
    from shim.removal.readiness import Check, RemovalEvidence, Required
    from shim.removal.sources import SourceTree
    from shim.removal.uses import Caller

_RECORDS = 200
"""Decisions that are looked at, newest first."""


def ready(
    name: MigrationName,
    *,
    quiet: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long legacy must not have been needed: 90s, 2h, 7d, ...")
    ] = "7d",
    comparisons: Annotated[
        int, typer.Option(min=0, help="Comparisons since the candidate was last changed, at least.")
    ] = 200,
    source: SourceOption = Path(),
    migrations: MigrationsOption = None,
    json: JsonOption = False,
) -> int:
    """Say whether legacy can go, and what is missing. Ends with 1 if anything is."""
    from shim.removal.declarations import one_declared
    from shim.removal.readiness import Required, checklist
    from shim.removal.sources import SourceTree

    where = migrations or found().reference
    root, required = source.resolve(), Required(seconds=parse_duration(quiet), comparisons=comparisons)
    checks = checklist(_evidence(one_declared(name, where, root), SourceTree(root), required), required)
    missing = [check for check in checks if not check.holds]
    if json:
        print_json({"migration": name, "ready": not missing, "checks": [asdict(check) for check in checks]})
    else:
        _print(name, checks, missing)
    return ExitCode.FAILED if missing else ExitCode.OK


def _evidence(migration: Declared, tree: SourceTree, required: Required) -> RemovalEvidence:
    from shim.removal.readiness import RemovalEvidence
    from shim.wiring import decision_now, open_guard_store, open_router

    configured, now, name = settings(), time.time(), migration.name
    ledger, store = LedgerReader(configured.shim_db), open_guard_store(configured)
    guard, losses = guard_report(store, name), ledger.losses()
    changed, callers = _changed(migration, tree), callers_of(migration, tree)
    with closing(open_router(configured)) as router:
        decision = decision_now(router, name)
    return RemovalEvidence(
        now=now,
        decision=decision,
        standing=ledger.status(name),
        guard_state=guard["state"],
        guard_evidence=guard["evidence"],
        records=store.records(name, limit=_RECORDS),
        notices=ledger.notices(name, since=now - required.seconds),
        lost=None if losses is None else losses.last_at,
        changed=changed,
        verdicts=ledger.verdicts(name, since=changed),
        open_work=_open_work(),
        callers=[caller for caller in callers if not _is_test(caller)],
        tests=sorted({caller.found.file for caller in callers if caller.found and _is_test(caller)}),
        obstacle=_obstacle(tree, migration),
    )


def _changed(migration: Declared, tree: SourceTree) -> float:
    from shim.removal.sources import last_changed

    candidates = {str(each.candidate).partition(":")[0] for each in migration.targets.values()}
    return last_changed(tree, candidates, {target.partition(":")[0] for target in migration.targets})


def _open_work() -> list[Check]:
    """What the application itself asks for."""
    hooks = [extension.open_work for extension in application().extensions if extension.open_work is not None]
    return [check for open_work in hooks for check in open_work()]


def _obstacle(tree: SourceTree, migration: Declared) -> str | None:
    from shim.removal.removal import removal
    from shim.removal.sources import RemovalError

    try:
        patch = removal(tree, migration)
    except (RemovalError, MigrationError) as error:
        return str(error)
    return None if patch.changes else "`shim remove` finds nothing to change"


def _is_test(caller: Caller) -> bool:
    file = caller.found.file if caller.found else caller.seen[0].file
    parts = Path(file).parts
    return "tests" in parts or Path(file).name.startswith("test_")


def _print(name: str, checks: Sequence[Check], missing: Sequence[Check]) -> None:
    table = Table("", "", "", box=None, show_header=False)
    for check in checks:
        mark, style = ("ok", "green") if check.holds else ("missing", "yellow")
        text = check.figure if check.holds else f"{check.figure}\n{check.advice.replace('NAME', name)}"
        table.add_row(Text(mark, style), check.name, Text(printable(text, keep="\n")))
    show(table)
    verdict = f"{len(missing)} of {len(checks)} are missing: legacy stays" if missing else "legacy can go: `shim remove"
    show(f"{name}: {verdict}" + ("" if missing else f" {name} --dry-run` shows the patch"))
