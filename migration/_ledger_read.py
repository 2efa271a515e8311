"""Questions to the ledger."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from migration._errors import LedgerError
from migration._model import Role, Side


@dataclass(slots=True, kw_only=True)
class SideTotals:
    """How the calls that one side served ended. `seconds` and `bytes` are sums over all of them."""

    calls: int = 0
    seconds: float = 0.0
    bytes: int = 0
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def mean_seconds(self) -> float | None:
        """Mean duration of a call in seconds; None before the first."""
        return self.seconds / self.calls if self.calls else None


@dataclass(slots=True, kw_only=True)
class Standing:
    """Where one migration stands on this machine.

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


_HAS_TABLES = "SELECT 1 FROM sqlite_master WHERE name = 'notices'"
"""The last table that is made; without it the first process to write is still making them."""


class LedgerReader:
    """Reads a ledger; one that does not exist yet is an empty one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def standing(self, migration: str) -> Standing:
        """Totals, verdicts and the last decision of a migration.

        Raises:
            LedgerError: the file cannot be read.
        """
        standing = Standing(migration=migration)
        with self._reading() as database:
            if database is None:
                return standing
            for row in database.execute(
                "SELECT side, result, calls, seconds, bytes FROM runs WHERE migration = ? AND role = ?",
                (migration, Role.PRIMARY),
            ):
                totals = standing.sides[Side(row["side"])]
                totals.calls += row["calls"]
                totals.seconds += row["seconds"]
                totals.bytes += row["bytes"]
                if row["result"] != "ok":
                    totals.errors[row["result"]] = row["calls"]
            standing.verdicts = {
                row["verdict"]: row["n"]
                for row in database.execute(
                    "SELECT verdict, count(*) AS n FROM comparisons WHERE migration = ? GROUP BY 1 ORDER BY 2 DESC",
                    (migration,),
                )
            }
            standing.notices = {
                row["kind"]: row["n"]
                for row in database.execute(
                    "SELECT kind, count(*) AS n FROM notices WHERE migration = ? GROUP BY kind", (migration,)
                )
            }
            decided = database.execute("SELECT * FROM decisions WHERE migration = ?", (migration,)).fetchone()
            standing.decision = dict(decided) if decided else None
        return standing

    def comparisons(self, migration: str | None = None, *, limit: int = 50) -> list[dict[str, object]]:
        """The newest comparisons, newest first, by column name.

        Raises:
            LedgerError: the file cannot be read.
        """
        with self._reading() as database:
            if database is None:
                return []
            rows = database.execute(
                "SELECT * FROM comparisons WHERE ? IS NULL OR migration = ? ORDER BY id DESC LIMIT ?",
                (migration, migration, limit),
            )
            return [
                {**row, **{name: json.loads(row[name]) for name in ("differences", "masked", "attributes")}}
                for row in map(dict, rows)
            ]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        if not self.path.exists() or self.path.stat().st_size == 0:
            yield None
            return
        try:
            with closing(sqlite3.connect(self.path, timeout=5.0)) as database:
                database.row_factory = sqlite3.Row
                yield database if database.execute(_HAS_TABLES).fetchone() else None
        except sqlite3.Error as error:
            raise LedgerError(self.path, str(error)) from error
