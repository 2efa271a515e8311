"""The guard's tables: what outlives a process, and what the processes of a machine know of each other."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from migration.guard.evidence import CandidateEvidence, Trail
from migration.guard.model import BadCall, CandidateResult, DecisionRecord, call_as_data, call_of
from migration.store.shim_db import shim_db

KEEP_CALLS = 10_000
"""Bad calls of a migration that are kept one by one; older ones are kept as a sum."""

KEEP_RECORDS = 10_000
"""Decisions that are kept; the oldest go first."""

KEEP_MADE = 100_000
"""Calls of all candidates whose results are kept for an audit; the oldest go first."""


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A bad call of some process of this machine."""

    id: int
    process: str
    call: BadCall


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardStatus:
    """What holds for one migration on this machine.

    Attributes:
        migration: its name.
        epoch: when it was resumed last, in seconds since 1970, so that it also grows when a new file takes the place of
            this one; 0 before. Evidence of an earlier epoch no longer counts.
        tripped_by: id of the record that rolled it back; None while nothing has.
        frozen_by: id of the record that stopped its promotion; None while nothing has.
        carried_out: whether the flag has been changed as decided.
    """

    migration: str
    epoch: int = 0
    tripped_by: int | None = None
    frozen_by: int | None = None
    carried_out: bool = True

    @property
    def held_by(self) -> int | None:
        """Id of the record because of which promotion stopped, or legacy serves; None while nothing has."""
        return self.tripped_by or self.frozen_by


class GuardStore:
    """The guard's tables in the file of this machine. Every method raises `StoreError`.

    Args:
        path: made, with its folder, when something is first written (0600 in 0700).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = shim_db(path)

    def statuses(self) -> dict[str, GuardStatus]:
        """What holds, by migration."""
        rows = self.database.rows("SELECT * FROM guard_status")
        return {row["migration"]: GuardStatus(**{**row, "carried_out": bool(row["carried_out"])}) for row in rows}

    def status(self, migration: str) -> GuardStatus:
        """What holds for one migration."""
        return self.statuses().get(migration) or GuardStatus(migration=migration)

    def add_calls(self, calls: Iterable[tuple[str, int, BadCall]], *, process: str) -> None:
        """Keep bad calls, each with its migration and epoch."""
        with self._writing() as database:
            add_calls(database, calls, process=process)

    def calls_after(self, last: int, *, migration: str, epoch: int) -> list[StoredCall]:
        """The bad calls of all processes with an id above `last`, oldest first."""
        with self.database.reading() as database:
            return list(_calls_after(database, last, migration, epoch)) if database else []

    def recall(self, *, migration: str, epoch: int) -> tuple[CandidateEvidence, int]:
        """The evidence of all bad calls so far, and the id of the last of them."""
        trail, last = self.trail(migration=migration, epoch=epoch)
        return trail.evidence, last

    def trail(self, *, migration: str, epoch: int, write_timeout: float | None = None) -> tuple[Trail, int]:
        """The evidence with the calls that led to it, and the id of the last of them.

        Args:
            migration: its migration.
            epoch: evidence of an earlier one does not count.
            write_timeout: seconds to wait for another process that writes; the usual time by default.
        """
        with self.database.reading(write_timeout) as database:
            if database is None:
                return Trail(), 0
            database.execute("BEGIN")  # one view of both tables: what is summed up leaves the other
            evidence, last = _summed(database, migration, epoch)
            trail = Trail(evidence)
            for stored in _calls_after(database, last, migration, epoch):
                trail.add(stored.call)
                last = stored.id
            return trail, last

    def summed(self, *, migration: str, epoch: int) -> tuple[CandidateEvidence, int]:
        """The evidence of the bad calls that are kept only as a sum, and the id of the last of them."""
        with self.database.reading() as database:
            return (CandidateEvidence(), 0) if database is None else _summed(database, migration, epoch)

    def migrations(self) -> list[str]:
        """The migrations that have bad calls."""
        return [str(name) for (name,) in self.database.rows("SELECT DISTINCT migration FROM bad_calls")]

    def decide(self, record: DecisionRecord, *, due: bool = False) -> int:
        """Keep a decision, let it hold, and return its id.

        Args:
            record: the decision; `freeze` stops promotion, `rollback` does that and routes every call to legacy.
            due: whether the flag is still to be changed.
        """
        with self._writing() as database:
            return keep_decision(database, record, due=due)

    def decide_once(self, record: DecisionRecord, *, epoch: int | None = None, due: bool) -> tuple[int, bool]:
        """As `decide`, unless the same was decided since the last release, as by another process of the machine.

        A decision that follows from the evidence of an earlier epoch is not kept: the migration was resumed before it
        could be written down. None is the epoch of this moment.

        Returns:
            The id of the decision that holds, and whether it is new.
        """
        asked = {"migration": record.migration, "action": record.action, "rule": record.rule, "epoch": epoch}
        with self._writing() as database:
            for question in (_RESUMED_SINCE, _SAME_DECISION):
                known = database.execute(question, asked).fetchone()
                if known is not None and known[0] is not None:
                    return int(known[0]), False
            return keep_decision(database, record, due=due), True

    def release(self, record: DecisionRecord) -> int:
        """Keep the decision to resume: nothing holds any more, and evidence begins with nothing."""
        with self._writing() as database:
            database.execute(_RELEASE, {"migration": record.migration, "at": int(record.at)})
            return _insert_record(database, record)

    def carried_out(self, number: int, *, at: float, flag_after: str | None) -> None:
        """Note that the flag has been changed as decided."""
        with self._writing() as database:
            database.execute(
                "UPDATE records SET carried_out_at = ?, flag_after = ?, problem = NULL WHERE id = ?",
                (at, flag_after, number),
            )
            database.execute("UPDATE guard_status SET carried_out = 1 WHERE tripped_by = ?", (number,))

    def not_carried_out(self, number: int, problem: str) -> None:
        """Note why the flag could not be changed."""
        with self._writing() as database:
            database.execute("UPDATE records SET problem = ? WHERE id = ?", (problem, number))

    def records(self, migration: str | None = None, *, limit: int = 50) -> list[DecisionRecord]:
        """Decisions, newest first."""
        return [DecisionRecord.of_row(dict(row)) for row in self.database.rows(_RECORDS, (migration, migration, limit))]

    def record(self, number: int) -> DecisionRecord | None:
        """One decision."""
        rows = self.database.rows("SELECT * FROM records WHERE id = ?", (number,))
        return DecisionRecord.of_row(dict(rows[0])) if rows else None

    def made(self, migration: str, *, since: float) -> list[CandidateResult]:
        """What calls of the candidate have created since then (seconds since the epoch), oldest first."""
        found = self.database.rows(_MADE_SINCE, (migration, since))
        return [CandidateResult(**{**row, "things": tuple(json.loads(row["things"]))}) for row in found]

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self.database.writing() as database:
            yield database
            database.execute(
                "DELETE FROM records WHERE id <= (SELECT max(id) FROM records) - ?"
                " AND id NOT IN (SELECT tripped_by FROM guard_status WHERE tripped_by IS NOT NULL)",
                (KEEP_RECORDS,),
            )


# Within a transaction of the caller

_FOLD_AT = KEEP_CALLS + 1_000

_ADD_BAD_CALL = """
INSERT INTO bad_calls
  (migration, epoch, process, at, signals, on_candidate, probability, kind, seconds, trace, flag_version)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_ADD_RECORD = """
INSERT INTO records
  (at, migration, action, rule, by, sentence, numbers, flag_before, flag_after, start, calls, carried_out_at, problem)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_ADD_MADE = "INSERT INTO made (migration, at, kind, things, trace, flag_version) VALUES (?, ?, ?, ?, ?, ?)"
_HOLD = """
INSERT INTO guard_status (migration, tripped_by, frozen_by, carried_out) VALUES (?, ?, ?, ?)
ON CONFLICT (migration) DO UPDATE SET
  tripped_by = coalesce(tripped_by, excluded.tripped_by), frozen_by = coalesce(frozen_by, excluded.frozen_by),
  carried_out = min(carried_out, excluded.carried_out)
"""
_RELEASE = """
INSERT INTO guard_status (migration, epoch) VALUES (:migration, max(1, :at))
ON CONFLICT (migration) DO UPDATE SET
  epoch = max(epoch + 1, :at), tripped_by = NULL, frozen_by = NULL, carried_out = 1
"""
_RESUMED_SINCE = """
SELECT coalesce((SELECT max(id) FROM records WHERE migration = :migration AND action = 'resume'), 0)
FROM guard_status WHERE migration = :migration AND epoch > :epoch
"""
_SAME_DECISION = """
SELECT max(id) FROM records WHERE migration = :migration AND action = :action
  AND (action = 'rollback' OR rule IS :rule)
  AND id > coalesce((SELECT max(id) FROM records WHERE migration = :migration AND action = 'resume'), 0)
"""
_CALLS_AFTER = "SELECT * FROM bad_calls WHERE migration = ? AND epoch = ? AND id > ? ORDER BY id LIMIT ?"
_MADE_SINCE = """
SELECT migration, at, kind, things, trace, flag_version FROM made WHERE migration = ? AND at >= ? ORDER BY id
"""
_RECORDS = "SELECT * FROM records WHERE ? IS NULL OR migration = ? ORDER BY id DESC LIMIT ?"


def add_made(database: sqlite3.Connection, made: Iterable[CandidateResult]) -> None:
    """Insert what calls of candidates have created, and delete the oldest of it where there is too much."""
    rows = [
        (each.migration, each.at, each.kind, json.dumps(each.things), each.trace, each.flag_version) for each in made
    ]
    if rows:
        database.executemany(_ADD_MADE, rows)
        database.execute("DELETE FROM made WHERE id <= (SELECT max(id) FROM made) - ?", (KEEP_MADE,))


def add_calls(database: sqlite3.Connection, calls: Iterable[tuple[str, int, BadCall]], *, process: str) -> None:
    """Insert bad calls, each with its migration and epoch, and sum up the oldest ones where there are too many."""
    rows = [
        (
            migration, epoch, process, call.at, ",".join(sorted(call.signals)), call.on_candidate,
            call.probability, call.kind, call.seconds, call.trace, call.flag_version,
        )
        for migration, epoch, call in calls
    ]  # fmt: skip
    database.executemany(_ADD_BAD_CALL, rows)
    for migration, epoch in {(row[0], row[1]) for row in rows}:
        _fold(database, migration, epoch)


def _calls_after(
    database: sqlite3.Connection, last: int, migration: str, epoch: int, *, limit: int = -1
) -> Iterator[StoredCall]:
    """The bad calls of all processes with an id above `last`, oldest first; at most `limit`, all by default."""
    for row in database.execute(_CALLS_AFTER, (migration, epoch, last, limit)):
        found = {each.name: row[each.name] for each in fields(BadCall)}
        found |= {"signals": row["signals"].split(","), "on_candidate": bool(row["on_candidate"])}
        yield StoredCall(row["id"], row["process"], call_of(found))


def _summed(database: sqlite3.Connection, migration: str, epoch: int) -> tuple[CandidateEvidence, int]:
    """The evidence of the bad calls that are kept only as a sum, and the id of the last of them."""
    row = database.execute("SELECT * FROM sums WHERE migration = ? AND epoch = ?", (migration, epoch)).fetchone()
    if row is None:
        return CandidateEvidence(), 0
    return CandidateEvidence.restored(json.loads(row["state"])), row["up_to"]


def _fold(database: sqlite3.Connection, migration: str, epoch: int) -> None:
    """Sum up the oldest bad calls when there are too many, and delete those of earlier epochs."""
    database.execute("DELETE FROM bad_calls WHERE migration = ? AND epoch < ?", (migration, epoch))
    counted = database.execute(
        "SELECT count(*) FROM bad_calls WHERE migration = ? AND epoch = ?", (migration, epoch)
    ).fetchone()[0]
    if counted < _FOLD_AT:
        return
    evidence, last = _summed(database, migration, epoch)
    for stored in list(_calls_after(database, last, migration, epoch, limit=counted - KEEP_CALLS)):
        evidence.add(stored.call)
        last = stored.id
    database.execute(
        "INSERT OR REPLACE INTO sums VALUES (?, ?, ?, ?)", (migration, epoch, last, json.dumps(evidence.state()))
    )
    database.execute("DELETE FROM bad_calls WHERE migration = ? AND epoch = ? AND id <= ?", (migration, epoch, last))


def keep_decision(database: sqlite3.Connection, record: DecisionRecord, *, due: bool) -> int:
    """Insert a decision and let it hold; `due`: whether the flag is still to be changed. Returns its id."""
    number = _insert_record(database, record)
    if record.action in {"freeze", "rollback"}:
        tripped_by = number if record.action == "rollback" else None
        database.execute(_HOLD, (record.migration, tripped_by, number, not (due and tripped_by)))
    return number


def _insert_record(database: sqlite3.Connection, record: DecisionRecord) -> int:
    """Insert a decision; returns its id."""
    values = (
        record.at, record.migration, record.action, record.rule, record.by, record.sentence,
        json.dumps(dict(record.numbers)), record.flag_before, record.flag_after,
        None if record.start is None else json.dumps(dict(record.start)),
        json.dumps([call_as_data(call) for call in record.calls]), record.carried_out_at,
        record.problem,
    )  # fmt: skip
    number = database.execute(_ADD_RECORD, values).lastrowid
    assert number is not None  # noqa: S101  # a row was inserted
    return number
