"""`shim callers`: who calls the migrated functions, as the source shows it and as it was seen at run time."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from migration.model import Entrance
from migration.store import LedgerReader
from shim.cli.exits import ExitCode
from shim.cli.finding import found, settings
from shim.cli.options import JsonOption, MigrationsOption, OneMigration, SourceOption
from shim.cli.output import ago, print_json, printable, show

if TYPE_CHECKING:
    from shim.removal.declarations import Declared
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
    if json:
        print_json(
            {"migrations": {name: [as_data(each, now) for each in callers] for name, callers in by_name.items()}}
        )
    else:
        show(Group(*(_rendered(name, callers, now) for name, callers in by_name.items())))
    return ExitCode.OK


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
