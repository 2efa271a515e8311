"""`shim ready`: whether legacy can go, as a checklist with figures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migration import MigrationError
from migration.store import LedgerReader
from shim.cli.callers import callers_of
from shim.cli.exits import ExitCode
from shim.cli.finding import application, found
from shim.cli.guard_standing import guard_report
from shim.cli.mismatches import parse_duration
from shim.cli.output import print_json, printable
from shim.removal.declarations import Declared, one_declared
from shim.removal.readiness import Check, RemovalEvidence, Required, checklist
from shim.removal.removal import removal
from shim.removal.sources import RemovalError, SourceTree, last_changed
from shim.removal.uses import Caller
from shim.settings import get_settings
from shim.wiring import decision_now, open_guard_store, open_router

_RECORDS = 200
"""Decisions that are looked at, newest first."""


def run(name: str, *, quiet: str, comparisons: int, source: Path, migrations: str | None, as_json: bool) -> int:
    """Show the checklist; ends with 1 if anything is missing.

    Raises:
        RemovalError: the migration is not declared, or the sources cannot be read.
        MigrationError: what was recorded cannot be read.
        CommandError: `quiet` is no time.
    """
    where = migrations or found().reference
    root, required = source.resolve(), Required(seconds=parse_duration(quiet), comparisons=comparisons)
    checks = checklist(_evidence(one_declared(name, where, root), SourceTree(root), required), required)
    missing = [check for check in checks if not check.holds]
    if as_json:
        print_json({"migration": name, "ready": not missing, "checks": [asdict(check) for check in checks]})
    else:
        _print(name, checks, missing)
    return ExitCode.FAILED if missing else ExitCode.OK


def _evidence(migration: Declared, tree: SourceTree, required: Required) -> RemovalEvidence:
    settings, now, name = get_settings(), time.time(), migration.name
    ledger, store = LedgerReader(settings.shim_db), open_guard_store(settings)
    guard, losses = guard_report(store, name), ledger.losses()
    changed, callers = _changed(migration, tree), callers_of(migration, tree)
    with closing(open_router(settings)) as router:
        decision = decision_now(router, name)
    return RemovalEvidence(
        now=now,
        decision=decision,
        standing=ledger.standing(name),
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
    candidates = {str(each.candidate).partition(":")[0] for each in migration.targets.values()}
    return last_changed(tree, candidates, {target.partition(":")[0] for target in migration.targets})


def _open_work() -> list[Check]:
    """What the application itself asks for."""
    hooks = [extension.open_work for extension in application().extensions if extension.open_work is not None]
    return [check for open_work in hooks for check in open_work()]


def _obstacle(tree: SourceTree, migration: Declared) -> str | None:
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
    console = Console(highlight=False)
    table = Table("", "", "", box=None, show_header=False)
    for check in checks:
        mark, style = ("ok", "green") if check.holds else ("missing", "yellow")
        text = check.figure if check.holds else f"{check.figure}\n{check.advice.replace('NAME', name)}"
        table.add_row(Text(mark, style), check.name, Text(printable(text, keep="\n")))
    console.print(table)
    verdict = f"{len(missing)} of {len(checks)} are missing: legacy stays" if missing else "legacy can go: `shim remove"
    console.print(f"{name}: {verdict}" + ("" if missing else f" {name} --dry-run` shows the patch"))
