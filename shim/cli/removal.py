"""`shim callers`, `ready`, `remove`: who calls the migrated functions, whether legacy can go, and its removal."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from migration import MigrationError
from migration.model import Entrance
from migration.store import LedgerReader
from shim.cli.conventions import (
    CommandError,
    ExitCode,
    JsonOption,
    MigrationName,
    MigrationsOption,
    OneMigration,
    SourceOption,
    parse_duration,
)
from shim.cli.finding import application, found, settings
from shim.cli.output import ago, finish, note, plain_table, printable
from shim.cli.status import guard_report

if TYPE_CHECKING:
    from shim.removal.declarations import Declared
    from shim.removal.readiness import Check, RemovalEvidence, Required
    from shim.removal.sources import SourceTree
    from shim.removal.uses import Caller

_WAYS = {
    Entrance.SYNC: "sync",
    Entrance.BLOCKING: "sync, inside a running loop",
    Entrance.AWAITED: "awaited",
}
_KINDS = {"call": "called", "awaited": "awaited", "reference": "passed on"}


def callers(
    name: OneMigration = None,
    *,
    source: SourceOption = Path(),
    migrations: MigrationsOption = None,
    json: JsonOption = False,
) -> int:
    """List who calls the migrated functions. Found in the source, seen at run time, or both."""
    from shim.removal.declarations import declared, one_declared
    from shim.removal.sources import SourceTree

    where = migrations or found().reference
    root, now = source.resolve(), time.time()
    chosen = [one_declared(name, where, root)] if name else list(declared(where, root).values())
    tree = SourceTree(root)
    by_name = {each.name: callers_of(each, tree) for each in chosen}
    return finish(
        {"migrations": {name: [as_data(each, now) for each in callers] for name, callers in by_name.items()}},
        Group(*(_rendered(name, callers, now) for name, callers in by_name.items())),
        as_json=json,
    )


def callers_of(migration: Declared, tree: SourceTree) -> list[Caller]:
    """The call sites of a migration, from the source and from the ledger.

    Raises:
        SourceError: a source file cannot be read.
        StoreError: the ledger cannot be read.
    """
    from shim.removal.uses import find_uses, matched

    seen = LedgerReader(settings().shim_db).callers(migration.name)
    return matched(find_uses(tree, migration.targets), seen, tree.root)


def as_data(caller: Caller, now: float) -> dict[str, object]:
    """A call site as plain data; `seen_seconds_ago` is None if it was never seen at run time."""
    use, last = caller.found, caller.last_at
    first = caller.seen[0] if caller.seen else None
    return {
        "function": use.target if use else first and first.function,
        "file": use.file if use else first and first.file,
        "line": use.line if use else first and first.line,
        "caller": use.function if use else first and first.caller,
        "in_source": use.kind.value if use else None,
        "inside_async_function": use.inside_async if use else None,
        "certain": use.certain if use else None,
        "at_run_time": [each.value for each in caller.entrances],
        "seen_seconds_ago": None if last is None else max(now - last, 0.0),
        "blocks_a_loop": caller.blocks,
    }


def _rendered(name: str, callers: Sequence[Caller], now: float) -> RenderableType:
    """File by file, a line for each call site; nothing is as wide as the path of a file."""
    by_file: dict[str, list[Caller]] = {}
    for each in callers:
        by_file.setdefault(str(as_data(each, now)["file"]), []).append(each)
    parts = [part for file, own in by_file.items() for part in (_text(file, "bold"), _table(own, now))]
    return Group(Text(f"{name}: {_count(callers)}", "bold"), *parts)


def _table(callers: Sequence[Caller], now: float) -> Table:
    table = Table(
        Column(justify="right", no_wrap=True, min_width=6),
        *(Column(overflow="fold", ratio=share) for share in (5, 4, 4)),
        box=None,
        show_header=False,
        expand=True,
    )
    for each in callers:
        shown = as_data(each, now)
        style = "yellow" if each.blocks else ""
        cells = (shown["line"], shown["caller"], _in_source(each), _seen(each, now))
        table.add_row(*(_text(str(cell), style) for cell in cells))
    return table


def _text(text: str, style: str) -> Text:
    return Text(printable(text), style)


def _count(callers: Sequence[Caller]) -> str:
    both = sum(bool(each.found and each.seen) for each in callers)
    source = sum(each.found is not None and not each.seen for each in callers)
    run_time = len(callers) - both - source
    return f"{both} in the source and seen, {source} in the source only, {run_time} seen only"


def _in_source(caller: Caller) -> str:
    if caller.found is None:
        return "not found"
    certain = "" if caller.found.certain else " (perhaps)"
    loop = ", inside a running loop" if caller.found.blocks else ""
    return f"{_KINDS[caller.found.kind.value]}{loop}{certain}"


def _seen(caller: Caller, now: float) -> str:
    if caller.last_at is None:
        return "never seen"
    return f"{'; '.join(_WAYS[way] for way in caller.entrances)}, {ago(now - caller.last_at)}"


# `shim ready`

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
    return finish(
        {"migration": name, "ready": not missing, "checks": [asdict(check) for check in checks]},
        *_shown(name, checks, missing),
        as_json=json,
        code=ExitCode.FAILED if missing else ExitCode.OK,
    )


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
        recorded=ledger.status(name),
        guard_state=guard["state"],
        guard_evidence=guard["evidence"],
        records=store.records(name, limit=_RECORDS),
        notices=ledger.notices(name, since=now - required.seconds),
        lost=None if losses is None else losses.last_at,
        changed=changed,
        verdicts=ledger.verdicts(name, since=changed),
        open_work=[check for extension in application().extensions for check in extension.open_work()],
        callers=[caller for caller in callers if not _is_test(caller)],
        tests=sorted({caller.found.file for caller in callers if caller.found and _is_test(caller)}),
        obstacle=_obstacle(tree, migration),
    )


def _changed(migration: Declared, tree: SourceTree) -> float:
    from shim.removal.sources import last_changed

    candidates = {str(each.candidate).partition(":")[0] for each in migration.targets.values()}
    return last_changed(tree, candidates, {target.partition(":")[0] for target in migration.targets})


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


def _shown(name: str, checks: Sequence[Check], missing: Sequence[Check]) -> tuple[Table, str]:
    rows = [
        (
            Text("ok", "green") if check.holds else Text("missing", "yellow"),
            check.name,
            check.figure if check.holds else f"{check.figure}\n{check.advice.replace('NAME', name)}",
        )
        for check in checks
    ]
    if missing:
        verdict = f"{len(missing)} of {len(checks)} are missing: legacy stays"
    else:
        verdict = f"legacy can go: `shim remove {name} --dry-run` shows the patch"
    return plain_table(("", "", ""), rows), f"{name}: {verdict}"


# `shim remove`


def remove(
    name: MigrationName,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the patch, and change nothing.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Change the files.")] = False,
    source: SourceOption = Path(),
    migrations: MigrationsOption = None,
    json: JsonOption = False,
) -> int:
    """Replace shim and legacy by the new implementation. Callers stay as they are."""
    from shim.removal.declarations import one_declared
    from shim.removal.removal import removal
    from shim.removal.sources import SourceTree

    if apply == dry_run:
        raise CommandError("say --dry-run to see the patch, or --apply to change the files", ExitCode.USAGE)
    root = source.resolve()
    patch = removal(SourceTree(root), one_declared(name, migrations or found().reference, root))
    if apply:
        patch.apply()
    files = [change.file.relative for change in patch.changes]
    if json:
        document = {"migration": name, "applied": apply, "files": files, "by_hand": patch.by_hand, "patch": patch.patch}
        return finish(document, as_json=True)
    if dry_run:
        sys.stdout.write(patch.patch)  # as it is: a patch must be exact
    did = "changed" if apply else "nothing was changed; --apply would change"
    for sentence in (f"{did} {', '.join(files)}; let your formatter and your tests run over them", *patch.by_hand):
        note(sentence)
    return ExitCode.OK
