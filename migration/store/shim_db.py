"""The file of this machine, `shim.db`: its tables, step by step, and what it takes over from earlier versions.

The ledger and the samples of processes may be lost; a full file refuses them first. The guard's decisions, rollouts and
the undo journal must not be, and find room beyond that bound.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from migration.model.errors import StoreRefusedError
from migration.store.database import FIRST_VERSION, Database, execute_all

NAME = "shim.db"

MAX_BYTES = 256 * 1024 * 1024
"""The largest file, in bytes, in which the ledger and the samples of processes are still written."""

_TABLES = """
CREATE TABLE runs (
  migration TEXT, side TEXT, role TEXT, result TEXT,
  calls INTEGER, seconds REAL, bytes INTEGER, last_at REAL,
  PRIMARY KEY (migration, side, role, result)
);
CREATE TABLE decisions (
  migration TEXT PRIMARY KEY, at REAL, serve TEXT, shadow INTEGER, probability REAL, shadow_probability REAL,
  reason TEXT, source TEXT, flag_version TEXT, error TEXT
);
CREATE TABLE comparisons (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, migration TEXT, function TEXT, call_id TEXT, mode TEXT, verdict TEXT,
  differences TEXT, noisy TEXT, noise TEXT, masked TEXT, unused_masks TEXT, detail TEXT, attributes TEXT,
  flag_version TEXT, primary_side TEXT, primary_seconds REAL, shadow_seconds REAL, primary_trace TEXT,
  shadow_trace TEXT, characters INTEGER
);
CREATE INDEX comparisons_by_verdict ON comparisons (migration, verdict);
CREATE INDEX comparisons_by_time ON comparisons (at, characters);
CREATE TABLE notices (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, kind TEXT, migration TEXT, text TEXT);
CREATE INDEX notices_by_time ON notices (at);
CREATE TABLE callers (
  migration TEXT, function TEXT, file TEXT, line INTEGER, caller TEXT, entrance TEXT, first_at REAL, last_at REAL,
  PRIMARY KEY (migration, function, file, line, caller, entrance)
);
CREATE TABLE losses (id INTEGER PRIMARY KEY CHECK (id = 1), records INTEGER, last_at REAL);

CREATE TABLE guard_status (
  migration TEXT PRIMARY KEY, epoch INTEGER NOT NULL DEFAULT 0,
  tripped_by INTEGER, frozen_by INTEGER, carried_out INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE bad_calls (
  id INTEGER PRIMARY KEY AUTOINCREMENT, migration TEXT NOT NULL, epoch INTEGER NOT NULL, process TEXT NOT NULL,
  at REAL, signals TEXT, on_candidate INTEGER, probability REAL, kind TEXT, seconds REAL, trace TEXT, flag_version TEXT
);
CREATE INDEX bad_calls_by_epoch ON bad_calls (migration, epoch, id);
CREATE TABLE sums (
  migration TEXT PRIMARY KEY, epoch INTEGER NOT NULL, up_to INTEGER NOT NULL, state TEXT NOT NULL
);
CREATE TABLE records (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, migration TEXT NOT NULL, action TEXT NOT NULL, rule TEXT,
  by TEXT NOT NULL, sentence TEXT NOT NULL, numbers TEXT NOT NULL, flag_before TEXT, flag_after TEXT,
  start TEXT, calls TEXT, carried_out_at REAL, problem TEXT
);
CREATE INDEX records_by_migration ON records (migration, id);
CREATE TABLE made (
  id INTEGER PRIMARY KEY AUTOINCREMENT, migration TEXT NOT NULL, at REAL NOT NULL, kind TEXT, things TEXT NOT NULL,
  trace TEXT, flag_version TEXT
);
CREATE INDEX made_by_time ON made (migration, at);
CREATE TABLE rollouts (migration TEXT PRIMARY KEY, revision INTEGER NOT NULL, state TEXT NOT NULL);

CREATE TABLE undo_intents (
  mark TEXT PRIMARY KEY, begun REAL, owner INTEGER, places TEXT, objects INTEGER, bytes INTEGER, state TEXT, ended REAL
);
CREATE INDEX undo_intents_by_state ON undo_intents (state);
CREATE TABLE undo_things (mark TEXT, thing TEXT, PRIMARY KEY (mark, thing));

CREATE TABLE calls (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, migration TEXT, side TEXT, seconds REAL, bytes INTEGER, error TEXT
);
CREATE INDEX calls_by_time ON calls (migration, at);
CREATE TABLE processes (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, process TEXT, memory INTEGER, memory_limit INTEGER,
  pool_used INTEGER, pool_limit INTEGER, loop_delay REAL, lost INTEGER
);
CREATE INDEX processes_by_time ON processes (at);
CREATE TABLE shares (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, instance TEXT, migration TEXT, percent REAL, shadow_percent REAL,
  source TEXT
);
CREATE TABLE spans (
  id INTEGER PRIMARY KEY AUTOINCREMENT, trace TEXT, span TEXT, parent TEXT, name TEXT, began REAL, seconds REAL,
  failed INTEGER, attributes TEXT, links TEXT
);
CREATE INDEX spans_by_trace ON spans (trace)
"""

_ALL = "*"
_COMPARISON = (
    "id, at, migration, function, unit, mode, verdict, differences, noisy, noise, masked, unused_masks, detail,"
    " attributes, flag_version, primary_side, primary_seconds, shadow_seconds, primary_trace, shadow_trace,"
    " length(differences) + coalesce(length(noise), 0)"
)

_EARLIER: Final = {
    "ledger.db": (
        2,
        {
            "runs": ("runs", _ALL),
            "decisions": ("decisions", _ALL),
            "comparisons": ("comparisons", _COMPARISON),
            "notices": ("notices", _ALL),
            "callers": ("callers", _ALL),
            "losses": ("losses", _ALL),
        },
    ),
    "guard.db": (
        1,
        {
            "standings": ("guard_status", "migration, epoch, latched_by, frozen_by, carried_out"),
            "bad_calls": ("bad_calls", _ALL),
            "sums": ("sums", _ALL),
            "records": ("records", _ALL),
            "made": ("made", _ALL),
            "rollouts": ("rollouts", _ALL),
        },
    ),
    "shadows.db": (1, {"intents": ("undo_intents", _ALL), "things": ("undo_things", _ALL)}),
    "vitals.db": (1, {name: (name, _ALL) for name in ("calls", "processes", "shares", "spans")}),
}
"""Of each file that earlier versions wrote: its version, and where the columns of its tables go, in order."""


def shim_db(path: Path) -> Database:
    """The file at `path` with the tables of this module."""
    return Database(path, _UPGRADES, earlier=tuple(_EARLIER))


def limit_size(database: sqlite3.Connection) -> None:
    """Let this connection make the file no larger than `MAX_BYTES`: what it writes may be lost."""
    [page] = database.execute("PRAGMA page_size").fetchone()
    database.execute(f"PRAGMA max_page_count = {MAX_BYTES // page}")


def make_tables(database: sqlite3.Connection, _path: Path) -> None:
    """Make the tables of the first version."""
    execute_all(database, _TABLES)


def _take_over(database: sqlite3.Connection, path: Path) -> None:
    """Copy the rows of the single files that earlier versions wrote; these stay as they are."""
    for name, (version, tables) in _EARLIER.items():
        copy_rows(path.with_name(name), database, into=path, version=version, tables=tables)


def _add_threads(database: sqlite3.Connection, _path: Path) -> None:
    """Make the table of what happened to background threads, which the ledger writes."""
    database.execute(
        "CREATE TABLE threads (process TEXT, name TEXT, refused INTEGER, died INTEGER, problem TEXT, last_at REAL,"
        " PRIMARY KEY (process, name))"
    )


_UPGRADES = (make_tables, _take_over, _add_threads)


def copy_rows(
    source: Path,
    database: sqlite3.Connection,
    *,
    into: Path,
    version: int,
    tables: dict[str, tuple[str, str]],
) -> None:
    """Copy tables of a file that an earlier version of this program wrote, within the transaction of `database`.

    Args:
        source: that file; it is left as it is, and may be missing.
        database: where the rows go.
        into: its path.
        version: the version of `source` whose tables are known.
        tables: by the name of each, the table that its rows go to, and its columns in the order of that one.

    Raises:
        StoreRefusedError: it is of another version or damaged.
        sqlite3.Error: the rows cannot be written.
    """
    if source == into or not source.exists() or source.stat().st_size == 0:
        return
    with closing(sqlite3.connect(source, isolation_level=None)) as earlier:
        try:
            earlier.execute("BEGIN")  # one view of all tables
            [found] = earlier.execute("PRAGMA user_version").fetchone()
            names = {name for (name,) in earlier.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except sqlite3.DatabaseError as error:
            if type(error) is sqlite3.DatabaseError:  # the other kinds are subclasses: locked, no permission, ...
                raise _not_taken_over(into, source, str(error)) from error
            raise
        if found >= FIRST_VERSION or not names:
            return  # a file of this module under that name, or one whose tables were never made
        if found != version:
            raise _not_taken_over(into, source, f"its tables have version {found} instead of {version}")
        for name in names & set(tables):
            target, columns = tables[name]
            rows = earlier.execute(f"SELECT {columns} FROM {name}")  # noqa: S608  # names from this package only
            values = ", ".join("?" * len(rows.description))
            database.executemany(f"INSERT OR REPLACE INTO {target} VALUES ({values})", rows)  # noqa: S608  # likewise
            if "sqlite_sequence" not in names:
                continue
            for [last] in earlier.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (name,)):
                database.execute("DELETE FROM sqlite_sequence WHERE name = ?", (target,))
                database.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (target, last))  # no id is given twice


def _not_taken_over(into: Path, source: Path, problem: str) -> StoreRefusedError:
    return StoreRefusedError(
        into, f"{source.name} cannot be taken over: {problem}; move that file away to begin without"
    )
