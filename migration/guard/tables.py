"""How the guard writes and reads its tables.

Everything here happens within a transaction that the caller has begun.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from migration.guard.evidence import Evidence
from migration.guard.model import BadCall, DecisionRecord, Signal, call_as_data

ADD_BAD_CALL = """
INSERT INTO bad_calls
  (migration, epoch, process, at, signals, on_candidate, probability, kind, seconds, trace, flag_version)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
ADD_RECORD = """
INSERT INTO records
  (at, migration, action, rule, by, sentence, numbers, flag_before, flag_after, start, calls, carried_out_at, problem)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
ADD_MADE = "INSERT INTO made (migration, at, kind, things, trace, flag_version) VALUES (?, ?, ?, ?, ?, ?)"
HOLD = """
INSERT INTO guard_status (migration, tripped_by, frozen_by, carried_out) VALUES (?, ?, ?, ?)
ON CONFLICT (migration) DO UPDATE SET
  tripped_by = coalesce(tripped_by, excluded.tripped_by), frozen_by = coalesce(frozen_by, excluded.frozen_by),
  carried_out = min(carried_out, excluded.carried_out)
"""
RELEASE = """
INSERT INTO guard_status (migration, epoch) VALUES (:migration, max(1, :at))
ON CONFLICT (migration) DO UPDATE SET
  epoch = max(epoch + 1, :at), tripped_by = NULL, frozen_by = NULL, carried_out = 1
"""
RESUMED_SINCE = """
SELECT coalesce((SELECT max(id) FROM records WHERE migration = :migration AND action = 'resume'), 0)
FROM guard_status WHERE migration = :migration AND epoch > :epoch
"""
SAME_DECISION = """
SELECT max(id) FROM records WHERE migration = :migration AND action = :action
  AND (action = 'rollback' OR rule IS :rule)
  AND id > coalesce((SELECT max(id) FROM records WHERE migration = :migration AND action = 'resume'), 0)
"""


# Bad calls as rows of the guard's file: one by one as long as there are not too many, then as a sum.

KEEP_CALLS = 10_000
"""Bad calls of a migration that are kept one by one; what older ones said is kept as a sum."""

_FOLD_AT = KEEP_CALLS + 1_000

_CALLS_AFTER = "SELECT * FROM bad_calls WHERE migration = ? AND epoch = ? AND id > ? ORDER BY id LIMIT ?"


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A bad call of some process of this machine."""

    id: int
    process: str
    call: BadCall


def add_calls(database: sqlite3.Connection, calls: Iterable[tuple[str, int, BadCall]], *, process: str) -> None:
    """Insert bad calls, each with its migration and epoch, and sum up the oldest ones where there are too many."""
    rows = [
        (
            migration, epoch, process, call.at, ",".join(sorted(call.signals)), call.on_candidate,
            call.probability, call.kind, call.seconds, call.trace, call.flag_version,
        )
        for migration, epoch, call in calls
    ]  # fmt: skip
    database.executemany(ADD_BAD_CALL, rows)
    for migration, epoch in {(row[0], row[1]) for row in rows}:
        _fold(database, migration, epoch)


def calls_after(
    database: sqlite3.Connection, last: int, migration: str, epoch: int, *, limit: int = -1
) -> Iterator[StoredCall]:
    """The bad calls of all processes with an id above `last`, oldest first; at most `limit`, all by default."""
    for row in database.execute(_CALLS_AFTER, (migration, epoch, last, limit)):
        yield StoredCall(
            row["id"],
            row["process"],
            BadCall(
                at=row["at"],
                signals=frozenset(Signal(name) for name in row["signals"].split(",")),
                on_candidate=bool(row["on_candidate"]),
                probability=row["probability"],
                kind=row["kind"],
                seconds=row["seconds"],
                trace=row["trace"],
                flag_version=row["flag_version"],
            ),
        )


def summed(database: sqlite3.Connection, migration: str, epoch: int) -> tuple[Evidence, int]:
    """The evidence of the bad calls that are kept only as a sum, and the id of the last of them."""
    row = database.execute("SELECT * FROM sums WHERE migration = ? AND epoch = ?", (migration, epoch)).fetchone()
    return (Evidence(), 0) if row is None else (Evidence.restored(json.loads(row["state"])), row["up_to"])


def _fold(database: sqlite3.Connection, migration: str, epoch: int) -> None:
    """Turn the oldest bad calls into a sum when there are too many, and forget those of earlier epochs."""
    database.execute("DELETE FROM bad_calls WHERE migration = ? AND epoch < ?", (migration, epoch))
    counted = database.execute(
        "SELECT count(*) FROM bad_calls WHERE migration = ? AND epoch = ?", (migration, epoch)
    ).fetchone()[0]
    if counted < _FOLD_AT:
        return
    evidence, last = summed(database, migration, epoch)
    for stored in list(calls_after(database, last, migration, epoch, limit=counted - KEEP_CALLS)):
        evidence.add(stored.call)
        last = stored.id
    database.execute(
        "INSERT OR REPLACE INTO sums VALUES (?, ?, ?, ?)", (migration, epoch, last, json.dumps(evidence.state()))
    )
    database.execute("DELETE FROM bad_calls WHERE migration = ? AND epoch = ? AND id <= ?", (migration, epoch, last))


# Decisions as rows of the guard's file, within a transaction that the caller has begun.


def keep_decision(database: sqlite3.Connection, record: DecisionRecord, *, due: bool) -> int:
    """Insert a decision and let it hold; `due`: whether the flag is still to be changed. Returns its id."""
    number = insert_record(database, record)
    if record.action in {"freeze", "rollback"}:
        latched = number if record.action == "rollback" else None
        database.execute(HOLD, (record.migration, latched, number, not (due and latched)))
    return number


def insert_record(database: sqlite3.Connection, record: DecisionRecord) -> int:
    """Insert a decision that nothing follows from; returns its id."""
    values = (
        record.at, record.migration, record.action, record.rule, record.by, record.sentence,
        json.dumps(dict(record.numbers)), record.flag_before, record.flag_after,
        None if record.start is None else json.dumps(dict(record.start)),
        json.dumps([call_as_data(call) for call in record.calls]), record.carried_out_at,
        record.problem,
    )  # fmt: skip
    number = database.execute(ADD_RECORD, values).lastrowid
    assert number is not None  # noqa: S101  # a row was inserted
    return number
