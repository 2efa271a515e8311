"""Questions to the ledger, and what it answers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

from migration.model.errors import StoreError
from migration.model.model import Difference, Entrance, NoiseSample, Role, Side
from migration.store.shim_db import shim_db
from migration.threads import ThreadTrouble


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedComparison:
    """One comparison as it was recorded.

    Attributes:
        id: its number in this ledger.
        at: when it was recorded, in seconds since the epoch.
        migration: name of the migration.
        function: the legacy function that was called.
        call_id: id of the call, which the event of the flag's evaluation has too.
        mode: how the shadow was run (`replay`, `live`).
        verdict: what the comparison said.
        differences: the fields that differ, with both values.
        noisy: those of them that were known to be noise.
        masked: fields that were left out of the comparison, without indexes.
        unused_masks: masks that named no field of the call.
        detail: what the verdict does not say.
        attributes: what the declaration shows of a call (provider, number and size of the files).
        flag_version: version of the flag that was in force.
        primary_side: the side that the flag let serve.
        primary_seconds: how long the caller's run took.
        shadow_seconds: how long the shadow took.
        primary_trace: W3C traceparent of the caller's run.
        shadow_trace: likewise of the shadow's.
    """

    id: int
    at: float
    migration: str
    function: str
    call_id: str
    mode: str
    verdict: str
    differences: tuple[Difference, ...]
    noisy: tuple[str, ...]
    masked: tuple[str, ...]
    unused_masks: tuple[str, ...]
    detail: str
    attributes: Mapping[str, str | int]
    flag_version: str | None
    primary_side: Side
    primary_seconds: float | None
    shadow_seconds: float | None
    primary_trace: str | None
    shadow_trace: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCaller:
    """A place from which a migrated function was called.

    Attributes:
        migration: name of the migration.
        function: the legacy function that was called.
        file: the caller's source file.
        line: in it.
        caller: qualified name of the function around the call.
        entrance: in which way it was called (`sync`, `blocking`, `awaited`).
        first_at: when it was first seen, in seconds since the epoch.
        last_at: when it was last written down, which happens at most once a minute.
    """

    migration: str
    function: str
    file: str
    line: int
    caller: str
    entrance: Entrance
    first_at: float
    last_at: float


COLUMNS = ", ".join(field.name for field in fields(RecordedComparison))
"""The columns that make a `RecordedComparison`, in order."""


def read_row(row: sqlite3.Row) -> RecordedComparison:
    """The comparison that a row holds.

    Raises:
        ValueError, TypeError: a column holds what this program did not write.
    """
    return RecordedComparison(
        **{
            **dict(row),
            "differences": tuple(Difference(**each) for each in json.loads(row["differences"])),
            **{name: tuple(json.loads(row[name])) for name in ("noisy", "masked", "unused_masks")},
            "attributes": json.loads(row["attributes"]),
            "primary_side": Side(row["primary_side"]),
        }
    )


def read_caller(row: sqlite3.Row) -> SeenCaller:
    """The call site that a row holds.

    Raises:
        ValueError, TypeError: a column holds what this program did not write.
    """
    return SeenCaller(**{**dict(row), "entrance": Entrance(row["entrance"])})


def read_sample(text: str) -> NoiseSample:
    """The noise sample that a column holds.

    Raises:
        ValueError, TypeError: it holds what this program did not write.
    """
    return NoiseSample(**{side: tuple(fields) for side, fields in json.loads(text).items()})


_MIGRATIONS = """
SELECT migration FROM runs UNION SELECT migration FROM decisions UNION SELECT migration FROM comparisons ORDER BY 1
"""
_RUNS = "SELECT side, result, calls, seconds, bytes, last_at FROM runs WHERE migration = ? AND role = ?"
_CALLERS = "SELECT * FROM callers WHERE ? IS NULL OR migration = ? ORDER BY file, line, entrance"
_NOTICES = "SELECT kind, count(*) FROM notices WHERE migration = ? AND at >= ? GROUP BY kind"
_NOISE = "SELECT function, noise FROM comparisons WHERE migration = ? AND noise IS NOT NULL ORDER BY id"
_VERDICTS = """
SELECT verdict, count(*) AS n FROM comparisons WHERE (? IS NULL OR migration = ?) AND at >= ?
GROUP BY verdict ORDER BY n DESC
"""


@dataclass(slots=True, kw_only=True)
class SideTotals:
    """How the calls that one side served ended. `seconds` and `bytes` are sums over all of them.

    `last_at` is when the last of them was over, in seconds since the epoch; 0 before the first.
    """

    calls: int = 0
    seconds: float = 0.0
    bytes: int = 0
    last_at: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def mean_seconds(self) -> float | None:
        """Mean duration of a call in seconds; None before the first."""
        return self.seconds / self.calls if self.calls else None


@dataclass(slots=True, kw_only=True)
class MigrationStatus:
    """What this machine has recorded of one migration.

    Attributes:
        sides: totals of the calls that each side served.
        verdicts: how many comparisons ended how.
        decision: the last decision, by column name; None before the first.
        notices: how many messages of each kind.
    """

    migration: str
    sides: dict[Side, SideTotals] = field(default_factory=lambda: {side: SideTotals() for side in Side})
    verdicts: dict[str, int] = field(default_factory=dict)
    decision: dict[str, object] | None = None
    notices: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Records of all processes that could not be written; `last_at` is in seconds since the epoch."""

    records: int
    last_at: float


class LedgerReader:
    """Reads a ledger; one that does not exist yet is an empty one. Every method raises `StoreError`.

    `migration` asks for one migration, all by default; `since` is in seconds since the epoch.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = shim_db(path)

    def status(self, migration: str) -> MigrationStatus:
        """Totals, verdicts and the last decision of a migration."""
        status = MigrationStatus(migration=migration)
        for row in self._database.rows(_RUNS, (migration, Role.PRIMARY)):
            totals = status.sides[Side(row["side"])]
            totals.calls += row["calls"]
            totals.seconds += row["seconds"]
            totals.bytes += row["bytes"]
            totals.last_at = max(totals.last_at, row["last_at"])
            if row["result"] != "ok":
                totals.errors[row["result"]] = row["calls"]
        status.verdicts = self.verdicts(migration)
        status.notices = self.notices(migration)
        decided = self._database.rows("SELECT * FROM decisions WHERE migration = ?", (migration,))
        status.decision = next(map(dict, decided), None)
        return status

    def losses(self) -> Losses | None:
        """How many records are missing, as far as it could be written down; None if none are."""
        return next((Losses(**row) for row in self._database.rows("SELECT records, last_at FROM losses")), None)

    def threads(self) -> dict[str, ThreadTrouble]:
        """What happened to background threads, by their name, in all processes together; the last problem of each."""
        rows = self._database.rows(
            "SELECT name, sum(refused), sum(died), problem, max(last_at) FROM threads GROUP BY name ORDER BY name"
        )
        with self._well_formed():
            return {
                name: ThreadTrouble(refused=refused, died=died, problem=problem, at=at)
                for name, refused, died, problem, at in rows
            }

    def callers(self, migration: str | None = None) -> list[SeenCaller]:
        """From where migrated functions were called, by file and line."""
        rows = self._database.rows(_CALLERS, (migration, migration))
        with self._well_formed():
            return [read_caller(row) for row in rows]

    def notices(self, migration: str, *, since: float = 0.0) -> dict[str, int]:
        """How many messages of each kind."""
        return dict(map(tuple, self._database.rows(_NOTICES, (migration, since))))

    def verdicts(self, migration: str | None = None, *, since: float = 0.0) -> dict[str, int]:
        """How many comparisons ended how."""
        return dict(map(tuple, self._database.rows(_VERDICTS, (migration, migration, since))))

    def comparisons(
        self,
        migration: str | None = None,
        *,
        verdicts: Collection[str] = (),
        since: float = 0.0,
        limit: int | None = None,
    ) -> list[RecordedComparison]:
        """Comparisons, newest first: with these verdicts, all by default; at most `limit`, all by default."""
        wanted = f"AND verdict IN ({', '.join('?' for _ in verdicts)})" if verdicts else ""
        return self._recorded(
            f"(? IS NULL OR migration = ?) AND at >= ? {wanted} ORDER BY id DESC LIMIT ?",
            migration,
            migration,
            since,
            *verdicts,
            -1 if limit is None else limit,
        )

    def comparison(self, number: int) -> RecordedComparison | None:
        """The comparison with this number; None if there is none, or none any more."""
        return next(iter(self._recorded("id = ?", number)), None)

    def migrations(self) -> list[str]:
        """The migrations of which a call, a decision or a comparison is recorded."""
        return [name for (name,) in self._database.rows(_MIGRATIONS)]

    def noise_samples(self, migration: str) -> list[tuple[str, NoiseSample]]:
        """What was learned about noise, oldest first, each with the function that was called."""
        rows = self._database.rows(_NOISE, (migration,))
        with self._well_formed():
            return [(row["function"], read_sample(row["noise"])) for row in rows]

    def _recorded(self, condition: str, *values: object) -> list[RecordedComparison]:
        rows = self._database.rows(f"SELECT {COLUMNS} FROM comparisons WHERE {condition}", values)  # noqa: S608  # our own names
        with self._well_formed():
            return [read_row(row) for row in rows]

    @contextmanager
    def _well_formed(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError) as error:
            raise StoreError(self.path, f"it holds a row that this program did not write ({error})") from error
