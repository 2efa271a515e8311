"""The rule by which a content is claimed in a shared table, without any input or output (sans-IO).

The plan is a generator: it yields what is to be asked and is sent what was answered.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tools.journal.port import CLAIMING, Entry, Finished, Held, Intent, JournalError, Opened, Opening, State
from tools.journal.supabase_requests import (
    TABLE,
    Reply,
    Request,
    Row,
    abandon_expired,
    abandon_of,
    entry,
    find_ended,
    find_holder,
    find_owner,
    insert,
    look_at,
    take,
    withdraw,
)

ROUNDS: Final = 5
"""So often a claim is tried for that others give up and win again meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """Who claims, and what it knows.

    Attributes:
        owner: its name.
        is_dead: whether an owner is known to be dead; that of another machine never is.
        call_seconds: for how long the call has been under way, at this moment.
        ended_before: whether an upload is known to have ended before the call began.
    """

    owner: str
    is_dead: Callable[[str], bool]
    call_seconds: Callable[[], float]
    ended_before: Callable[[str], bool]


def claim(intent: Intent, who: Claimant, *, waited_for: str | None) -> Generator[Request, Reply, Opening]:
    """Claim a content by inserting its row; see `Journal.open`.

    Args:
        intent: what is about to begin.
        who: on whose behalf.
        waited_for: the upload that this call found to hold the claim before.

    Raises:
        JournalError: the claim changed hands again and again.
    """
    if waited_for is not None:
        outcome = yield from _of_holder(waited_for, who)
        if outcome is not None:
            return outcome
    for _ in range(ROUNDS):
        inserted = yield insert(intent, who.owner)
        if not inserted.conflict:
            return (yield from _unless_served(intent, who, inserted.rows[0]))
        held = yield from _holder(intent, who)
        if held is not None:
            return held
    raise JournalError(TABLE, "a claim changed hands too often")


def take_over(upload_id: str, who: Claimant) -> Generator[Request, Reply, Entry | None]:
    """Become the owner of an unfinished upload that nobody works on; see `Journal.take_over`."""
    taken = yield take(upload_id, who.owner)
    if not taken.rows:
        found = yield find_owner(upload_id)
        dead = next((str(row["owner"]) for row in found.rows if row["owner"] is not None), None)
        if dead is None or not who.is_dead(dead):
            return None
        taken = yield take(upload_id, who.owner, dead=dead)
    return entry(taken.rows[0]) if taken.rows else None


def _of_holder(upload_id: str, who: Claimant) -> Generator[Request, Reply, Opening | None]:
    """What became of the upload that held the claim; None: the claim may be free."""
    found = yield look_at(upload_id)
    for row in found.rows:
        state, owner, file_id = State(row["state"]), row["owner"], row["provider_file_id"]
        if state in CLAIMING:
            return (yield from _unless_dead(upload_id, owner, who)) if owner is not None else None
        if file_id is not None and state in {State.DONE, State.UNKNOWN}:
            return Finished(upload_id=upload_id, provider_file_id=file_id)
    return None


def _holder(intent: Intent, who: Claimant) -> Generator[Request, Reply, Opening | None]:
    """Who holds the claim; None: it was taken from somebody who is dead, or given up meanwhile."""
    found = yield find_holder(intent)
    for row in found.rows:
        if row["upload_id"] == intent.upload_id:  # asked twice, because the first answer got lost
            return (yield from _unless_served(intent, who, row))
        return (yield from _unless_dead(row["upload_id"], row["owner"], who))
    yield abandon_expired(intent)
    return None


def _unless_dead(upload_id: str, owner: str, who: Claimant) -> Generator[Request, Reply, Held | None]:
    if not who.is_dead(owner):
        return Held(upload_id=upload_id, owner=owner)
    yield abandon_of(upload_id, owner)
    return None


def _unless_served(intent: Intent, who: Claimant, inserted: Row) -> Generator[Request, Reply, Opened | Finished]:
    """The claim is ours, so nobody ends any more; but somebody may have, while the call was under way already."""
    since = datetime.fromisoformat(inserted["began_at"]) - timedelta(seconds=who.call_seconds())
    ended = yield find_ended(intent, since)
    for row in ended.rows:
        if not who.ended_before(row["upload_id"]):
            yield withdraw(intent.upload_id, who.owner)
            return Finished(upload_id=row["upload_id"], provider_file_id=row["provider_file_id"])
    return Opened()
