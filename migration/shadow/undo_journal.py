"""What shadows are about to make and have made, written down before it is made, until it is undone.

One SQLite file, shared by the processes of a machine. A process that begins something holds a lock while it
lives, so that what a killed process left can be told from what a living one still works on.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from migration.store.process_lock import process_lock
from migration.store.shim_db import shim_db

HOUR = 3600.0

REMEMBERED_SECONDS = HOUR
"""How long what was undone or kept stays in the journal: as long as its bytes count."""

_OWNERS = "shadows.owners"
"""The file of the process locks, beside the database. Earlier versions name it so: each sees that the other lives."""


class UndoState(StrEnum):
    """What has become of an intent."""

    OPEN = "open"  # in work, if its process lives
    LEFT = "left"  # ended, and not everything is known to be undone
    UNDONE = "undone"
    KEPT = "kept"
    FORGOTTEN = "forgotten"  # given up: it is not looked for any more


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoLimits:
    """How much may be made.

    Attributes:
        objects: things that are not undone yet, of all processes of this machine.
        hourly_bytes: bytes that are made within any hour, likewise.
    """

    objects: int
    hourly_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoIntent:
    """Something that was to be made.

    Attributes:
        mark: what its name begins with, wherever it is.
        begun: when, in seconds since the epoch.
        places: where it is made, as its writer wrote it down.
        state: what has become of it.
        things: what is known to have been made, as its writer names it.
    """

    mark: str
    begun: float
    places: Mapping[str, str]
    state: UndoState
    things: tuple[str, ...]


class UndoJournal:
    """The journal in one file (0600); made, with its folder, by the first intent.

    Each operation has its own connection, so threads and forks share nothing.

    Args:
        path: the SQLite file.
        limits: how much may be made.
        now: the clock, in seconds since the epoch.

    Every method raises `StoreError` when the file cannot be used.
    """

    def __init__(self, path: Path, limits: UndoLimits, *, now: Callable[[], float] = time.time) -> None:
        self.path = path
        self._database = shim_db(path)
        self._owners = path.with_name(_OWNERS)
        self._limits = limits
        self._now = now

    def begin(self, mark: str, places: Mapping[str, str], *, objects: int, size: int) -> str | None:
        """Write down, durably, that something is about to be made; why it must not be, or None.

        Args:
            mark: unique; what the names of everything made will begin with.
            places: where it is to be made.
            objects: how many things.
            size: their bytes together.
        """
        now = self._now()
        with self._database.writing() as database:
            _forget(database, before=now - REMEMBERED_SECONDS)
            refusal = self._refusal(database, objects, size, now)
            if refusal is None:
                database.execute(
                    "INSERT INTO undo_intents VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
                    (
                        mark,
                        now,
                        process_lock(self._owners).number,
                        json.dumps(dict(places)),
                        objects,
                        size,
                        UndoState.OPEN,
                    ),
                )
            return refusal

    def note_made(self, mark: str, thing: str) -> None:
        """Write down that something was made."""
        with self._database.writing() as database:
            database.execute("INSERT OR IGNORE INTO undo_things VALUES (?, ?)", (mark, thing))

    def end(self, mark: str, state: UndoState) -> None:
        """Write down what has become of an intent."""
        with self._database.writing() as database:
            database.execute("UPDATE undo_intents SET state = ?, ended = ? WHERE mark = ?", (state, self._now(), mark))
            if state is not UndoState.LEFT:
                database.execute("DELETE FROM undo_things WHERE mark = ?", (mark,))

    def left(self) -> list[UndoIntent]:
        """What is to be undone, oldest first: begun by processes that died, or not undone in an earlier attempt."""
        with self._database.reading() as database:
            if database is None:
                return []
            rows = database.execute(
                "SELECT mark, begun, owner, places, state FROM undo_intents WHERE state IN (?, ?) ORDER BY begun",
                (UndoState.OPEN, UndoState.LEFT),
            ).fetchall()
            return [
                UndoIntent(
                    mark=mark,
                    begun=begun,
                    places=json.loads(places),
                    state=UndoState(state),
                    things=tuple(
                        thing for (thing,) in database.execute("SELECT thing FROM undo_things WHERE mark = ?", (mark,))
                    ),
                )
                for mark, begun, number, places, state in rows
                if state == UndoState.LEFT or not process_lock(self._owners).is_alive(number)
            ]

    def _refusal(self, database: sqlite3.Connection, objects: int, size: int, now: float) -> str | None:
        [there] = database.execute(
            "SELECT coalesce(sum(objects), 0) FROM undo_intents WHERE state IN (?, ?)", (UndoState.OPEN, UndoState.LEFT)
        ).fetchone()
        if there + objects > self._limits.objects:
            most = self._limits.objects
            return f"{there} of {most} objects of live shadows are there already, and this one has {objects}"
        [made] = database.execute(
            "SELECT coalesce(sum(bytes), 0) FROM undo_intents WHERE begun > ?", (now - HOUR,)
        ).fetchone()
        if made + size > self._limits.hourly_bytes:
            most = self._limits.hourly_bytes
            return f"live shadows have made {made} of {most} bytes within an hour, and this one has {size}"
        return None


def _forget(database: sqlite3.Connection, *, before: float) -> None:
    database.execute(
        "DELETE FROM undo_intents WHERE state NOT IN (?, ?) AND ended < ?", (UndoState.OPEN, UndoState.LEFT, before)
    )
