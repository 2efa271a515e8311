"""Keeps what must outlive a process, and what the processes of a machine must know of each other."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from migration.guard.evidence import Evidence, Trail
from migration.guard.model import BadCall, CandidateResult, DecisionRecord
from migration.guard.tables import (
    ADD_MADE,
    RELEASE,
    RESUMED_SINCE,
    SAME_DECISION,
    StoredCall,
    add_calls,
    calls_after,
    insert_record,
    keep_decision,
    summed,
)
from migration.store.shim_db import shim_db

KEEP_RECORDS = 10_000
"""Decisions that are kept; the oldest go first."""

KEEP_MADE = 100_000
"""Calls of all candidates whose results are kept for an audit; the oldest go first."""


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


class GuardStore:
    """The guard's tables in the file of this machine. Every method raises `StoreError`.

    Args:
        path: made, with its folder, when something is first written (0600 in 0700).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = shim_db(path)

    def statuses(self) -> dict[str, GuardStatus]:
        """What holds, by migration."""
        with self._database.reading() as database:
            rows = database.execute("SELECT * FROM guard_status").fetchall() if database else []
        return {
            row["migration"]: GuardStatus(
                migration=row["migration"],
                epoch=row["epoch"],
                tripped_by=row["tripped_by"],
                frozen_by=row["frozen_by"],
                carried_out=bool(row["carried_out"]),
            )
            for row in rows
        }

    def add_calls(self, calls: Iterable[tuple[str, int, BadCall]], *, process: str) -> None:
        """Keep bad calls, each with its migration and epoch."""
        new = list(calls)
        if new:
            with self._writing() as database:
                add_calls(database, new, process=process)

    def calls_after(self, last: int, *, migration: str, epoch: int) -> list[StoredCall]:
        """Bad calls of all processes with an id above `last`, oldest first."""
        with self._database.reading() as database:
            return list(calls_after(database, last, migration, epoch)) if database else []

    def recall(self, *, migration: str, epoch: int) -> tuple[Evidence, int]:
        """The evidence of all bad calls so far, and the id of the last of them."""
        trail, last = self.trail(migration=migration, epoch=epoch)
        return trail.evidence, last

    def trail(self, *, migration: str, epoch: int, write_timeout: float | None = None) -> tuple[Trail, int]:
        """How that evidence came about, and the id of the last bad call; waits `write_timeout` seconds at most."""
        with self._database.reading(write_timeout) as database:
            if database is None:
                return Trail(), 0
            database.execute("BEGIN")  # one view of both tables: what is summed up leaves the other
            evidence, last = summed(database, migration, epoch)
            trail = Trail(evidence)
            for stored in calls_after(database, last, migration, epoch):
                trail.add(stored.call)
                last = stored.id
            return trail, last

    def summed(self, *, migration: str, epoch: int) -> tuple[Evidence, int]:
        """The evidence of the bad calls that are kept only as a sum, and the id of the last of them."""
        with self._database.reading() as database:
            return (Evidence(), 0) if database is None else summed(database, migration, epoch)

    def migrations(self) -> list[str]:
        """Of which migrations there are bad calls."""
        with self._database.reading() as database:
            rows = database.execute("SELECT DISTINCT migration FROM bad_calls").fetchall() if database else []
        return [str(row["migration"]) for row in rows]

    def decide(self, record: DecisionRecord, *, due: bool = False) -> int:
        """Keep a decision, let it hold, and return its id.

        Args:
            record: the decision; `freeze` stops promotion, `rollback` does that and routes every call to legacy.
            due: whether the flag is still to be changed.
        """
        with self._writing() as database:
            return keep_decision(database, record, due=due)

    def decide_once(self, record: DecisionRecord, *, epoch: int | None = None, due: bool) -> tuple[int, bool]:
        """As `decide`, unless the same was decided since the last release: every process of a machine comes to it.

        One that follows from the evidence of an earlier epoch is not kept: somebody has resumed the migration before it
        could be written down. None is the epoch of this moment.

        Returns:
            The id of the decision that holds, and whether it is new.
        """
        asked = {"migration": record.migration, "action": record.action, "rule": record.rule, "epoch": epoch}
        with self._writing() as database:
            for question in (RESUMED_SINCE, SAME_DECISION):
                known = database.execute(question, asked).fetchone()
                if known is not None and known[0] is not None:
                    return int(known[0]), False
            return keep_decision(database, record, due=due), True

    def release(self, record: DecisionRecord) -> int:
        """Keep the decision to go on: nothing holds any more, and evidence is gathered anew."""
        with self._writing() as database:
            database.execute(RELEASE, {"migration": record.migration, "at": int(record.at)})
            return insert_record(database, record)

    def carried_out(self, number: int, *, at: float, flag_after: str | None) -> None:
        """Note that the flag has been changed as decided."""
        with self._writing() as database:
            database.execute(
                "UPDATE records SET carried_out_at = ?, flag_after = ?, problem = NULL WHERE id = ?",
                (at, flag_after, number),
            )
            database.execute(
                "UPDATE guard_status SET carried_out = 1"
                " WHERE migration = (SELECT migration FROM records WHERE id = ?)",
                (number,),
            )

    def not_carried_out(self, number: int, problem: str) -> None:
        """Note why the flag could not be changed."""
        with self._writing() as database:
            database.execute("UPDATE records SET problem = ? WHERE id = ?", (problem, number))

    def records(self, migration: str | None = None, *, limit: int = 50) -> list[DecisionRecord]:
        """Decisions, newest first."""
        with self._database.reading() as database:
            rows = database.execute(_RECORDS, (migration, migration, limit)).fetchall() if database else []
        return [DecisionRecord.of_row(dict(row)) for row in rows]

    def record(self, number: int) -> DecisionRecord | None:
        """One decision."""
        with self._database.reading() as database:
            row = database.execute("SELECT * FROM records WHERE id = ?", (number,)).fetchone() if database else None
        return None if row is None else DecisionRecord.of_row(dict(row))

    def add_made(self, made: Iterable[CandidateResult]) -> None:
        """Keep what calls of candidates have made."""
        rows = [
            (each.migration, each.at, each.kind, json.dumps(each.things), each.trace, each.flag_version)
            for each in made
        ]  # fmt: skip
        if rows:
            with self._writing() as database:
                database.executemany(ADD_MADE, rows)
                database.execute("DELETE FROM made WHERE id <= (SELECT max(id) FROM made) - ?", (KEEP_MADE,))

    def made(self, migration: str, *, since: float) -> list[CandidateResult]:
        """What calls of the candidate have made since then (seconds since the epoch), oldest first."""
        with self._database.reading() as database:
            found = database.execute(_MADE_SINCE, (migration, since)).fetchall() if database else []
        return [
            CandidateResult(
                migration=row["migration"], at=row["at"], kind=row["kind"], things=tuple(json.loads(row["things"])),
                trace=row["trace"], flag_version=row["flag_version"],
            )
            for row in found
        ]  # fmt: skip

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._database.writing() as database:
            yield database
            database.execute(
                "DELETE FROM records WHERE id <= (SELECT max(id) FROM records) - ?"
                " AND id NOT IN (SELECT tripped_by FROM guard_status WHERE tripped_by IS NOT NULL)",
                (KEEP_RECORDS,),
            )


_MADE_SINCE = "SELECT * FROM made WHERE migration = ? AND at >= ? ORDER BY id"
_RECORDS = "SELECT * FROM records WHERE ? IS NULL OR migration = ? ORDER BY id DESC LIMIT ?"
