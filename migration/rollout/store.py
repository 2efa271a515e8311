"""Keeps rollouts next to the guard's decisions, so that a decision and what follows from it are one transaction."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from migration.guard.model import DecisionRecord
from migration.guard.store import GuardStore, keep_decision
from migration.model.errors import RolloutError
from migration.rollout.model import Rollout
from migration.store.process_lock import LockHeldError, exclusive

_KEEP = """
INSERT INTO rollouts (migration, revision, state) VALUES (?, ?, ?)
ON CONFLICT (migration) DO UPDATE SET revision = excluded.revision, state = excluded.state
"""


class OvertakenError(RolloutError):
    """Another process has changed the rollout meanwhile; it is to be looked at again."""

    def __init__(self, migration: str) -> None:
        super().__init__(f"the rollout of {migration} was changed by another process at the same moment; try again")


class RolloutStore(GuardStore):
    """The guard's file with the rollouts in it. Every method raises `StoreError`."""

    def rollout(self, migration: str) -> Rollout | None:
        """The latest rollout of a migration; None before the first."""
        with self.database.reading() as database:
            return None if database is None else _read(database, migration)

    def keep(self, rollout: Rollout, record: DecisionRecord | None = None, *, due: bool = False) -> Rollout:
        """Keep the state of a rollout, together with the decision that led there.

        Args:
            rollout: derived from what this store gave.
            record: the decision.
            due: whether a rollback by it is still to be carried out.

        Returns:
            The rollout as it was kept; `record` is the decision's id if the flag is to be changed because of it.

        Raises:
            OvertakenError: it was changed meanwhile; nothing was kept.
        """
        with self._writing() as database:
            known = _read(database, rollout.migration)
            if (known.revision if known else 0) != rollout.revision:
                raise OvertakenError(rollout.migration)
            number = rollout.record if record is None else keep_decision(database, record, due=due)
            kept = replace(rollout, revision=rollout.revision + 1, record=number)
            database.execute(_KEEP, (kept.migration, kept.revision, json.dumps(kept.state())))
            return kept


def _read(database: sqlite3.Connection, migration: str) -> Rollout | None:
    row = database.execute("SELECT state FROM rollouts WHERE migration = ?", (migration,)).fetchone()
    return None if row is None else Rollout.restored(json.loads(row["state"]))


# One controller a migration on a machine: a lock that the operating system takes back when its holder dies.


@contextmanager
def only_controller(folder: Path, migration: str, *, who: str) -> Iterator[None]:
    """Be the only controller of this migration on this machine, until the end of the block.

    Args:
        folder: where the processes of the machine keep their state; made if it is missing.
        migration: what is rolled out.
        who: the person, for those who find it locked.

    Raises:
        RolloutError: another process is; the message says which.
        OSError: the folder cannot be written.
    """
    holder = f"process {os.getpid()} of {who} on {socket.gethostname()}"
    try:
        with exclusive(folder / f"rollout-{migration}.lock", holder=holder):
            yield
    except LockHeldError as error:
        raise RolloutError(f"{migration} is being rolled out by {error.holder} already; nothing was changed") from None
