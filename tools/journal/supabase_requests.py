"""What the journal asks of PostgREST, what its rows say, and the rule by which a content is claimed in them (sans-IO).

No time of a host is ever sent: filters compare with `now`, which Postgres reads as its own time
(https://www.postgresql.org/docs/current/datatype-datetime.html#DATATYPE-DATETIME-SPECIAL-VALUES), and the table's
trigger stamps what is written.

A policy is a generator: it yields what is to be asked and is sent what was answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from tools.journal.port import (
    CLAIMING,
    FINISHED,
    UNRESOLVED,
    Entry,
    Facts,
    Finished,
    Held,
    Intent,
    JournalError,
    Opened,
    Opening,
    State,
    UploadSide,
)

TABLE: Final = "upload_intents"

LEASE_SECONDS: Final = 60.0
"""How long a claim holds without being renewed. The table's trigger says so to the database."""

MAX_LISTED: Final = 1000
"""Unfinished uploads that one listing gives, the oldest first; Supabase's own limit for one answer."""

MAX_ENDED: Final = 5
"""Ended uploads of one content that are looked at, the latest first."""

MAX_ERROR_CHARACTERS: Final = 1000
"""Of an error's text so many are kept."""

CLOSED: Final = (*FINISHED, State.UNKNOWN)
"""States by which an upload is given up; in any other its owner stays."""

_CONTENT = ("provider", "account", "purpose", "sha256")
_FACTS = tuple(Facts.__dataclass_fields__)
_ESCAPED = re.compile(r"\\(\\|u[0-9a-f]{4})")
_NOT_LIVING = ("or", "(lease_until.is.null,lease_until.lt.now)")

Row = Mapping[str, Any]
Query = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request about the table.

    Attributes:
        method: `GET` reads, `POST` inserts, `PATCH` changes what the query finds, `DELETE` removes it.
        query: PostgREST's parameters. Whatever changes rows is answered with those that were changed.
        body: the row's columns.
        counted: whether the rows are to be counted, however few of them are wanted.
        once: to ask a second time would not come to the same.
    """

    method: str
    query: Query
    body: Row | None = None
    counted: bool = False
    once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer.

    Attributes:
        rows: the rows that were read or changed.
        conflict: the row was not inserted, because another one holds the claim.
        total: how many rows there are, if they were to be counted.
    """

    rows: Sequence[Row] = field(default=(), repr=False)
    conflict: bool = False
    total: int = 0


def insert(intent: Intent, owner: str) -> Request:
    """Claim a content: the table takes one row of it that is in flight."""
    body = asdict(intent)
    del body["began_at"]  # the database has a clock of its own
    body |= {"filename": escaped(intent.filename), "path": escaped(intent.path), "state": State.INTENDED.value}
    return Request(method="POST", query=(("select", "began_at"),), body=body | {"owner": owner})


def find_holder(intent: Intent) -> Request:
    """Who holds the claim, by a lease that has not run out."""
    wanted = (_states(CLAIMING), ("lease_until", "gte.now"), ("select", "upload_id,owner,began_at"))
    return Request(method="GET", query=(*_content(intent), *wanted))


def look_at(upload_id: str) -> Request:
    """How far an upload is; nothing when its lease has run out."""
    living = ("or", "(lease_until.is.null,lease_until.gte.now)")
    return Request(method="GET", query=(_id(upload_id), living, ("select", "owner,state,provider_file_id")))


def find_ended(intent: Intent, since: datetime) -> Request:
    """Uploads of this content that ended with a file at or after a time of the database."""
    return Request(
        method="GET",
        query=(
            *_content(intent),
            _states((State.DONE, State.UNKNOWN)),
            ("provider_file_id", "not.is.null"),
            ("finished_at", f"gte.{since.isoformat()}"),
            ("select", "upload_id,provider_file_id"),
            ("order", "finished_at.desc"),
            ("limit", str(MAX_ENDED)),
        ),
    )


def abandon_expired(intent: Intent) -> Request:
    """Take the claim of an owner whose lease ran out."""
    return _abandon((*_content(intent), _NOT_LIVING))


def abandon_of(upload_id: str, owner: str) -> Request:
    """Take the claim from this owner, who is known to be dead."""
    return _abandon((_id(upload_id), ("owner", f"eq.{owner}")))


def withdraw(upload_id: str, owner: str) -> Request:
    """Remove an intent of which nothing has begun."""
    mine = (_id(upload_id), ("owner", f"eq.{owner}"), _states((State.INTENDED,)))
    return Request(method="DELETE", query=(*mine, ("select", "upload_id")))


def change(upload_id: str, owner: str, state: State, facts: Facts) -> Request:
    """Write down how far an upload is. With its end (`CLOSED`) it is given up."""
    mine = (_id(upload_id), ("owner", f"eq.{owner}"), ("select", "upload_id"))
    return Request(method="PATCH", query=mine, body=_news(state, facts))


def settle(upload_id: str, state: State, facts: Facts) -> Request:
    """Write down how an upload ended whose claim was taken from it; unless recovery looks after it already."""
    lost = (_id(upload_id), ("owner", "is.null"), _states((State.ABANDONED,)), ("select", "upload_id"))
    return Request(method="PATCH", query=lost, body=_news(state, facts))


def renew(upload_ids: Iterable[str], owner: str) -> Request:
    """Let the leases of these uploads begin again."""
    listed = ("upload_id", f"in.({','.join(upload_ids)})")
    mine = (listed, ("owner", f"eq.{owner}"), ("select", "upload_id"))
    return Request(method="PATCH", query=mine, body={"owner": owner})


def take(upload_id: str, owner: str, *, dead: str | None = None) -> Request:
    """Become the owner of an unfinished upload without a living owner, or only of one who is known to be `dead`."""
    free = _NOT_LIVING if dead is None else ("owner", f"eq.{dead}")
    unfinished = (_id(upload_id), _states((*CLAIMING, *UNRESOLVED)))
    return Request(method="PATCH", query=(*unfinished, free), body={"owner": owner}, once=True)


def find_owner(upload_id: str) -> Request:
    """Who works on an upload."""
    return Request(method="GET", query=(_id(upload_id), ("select", "owner")))


def release(upload_id: str, owner: str) -> Request:
    """Work on an upload no more."""
    mine = (_id(upload_id), ("owner", f"eq.{owner}"), ("select", "upload_id"))
    return Request(method="PATCH", query=mine, body={"owner": None})


def list_unfinished() -> Request:
    """What is in flight or unresolved, oldest first."""
    order = (("order", "began_at.asc,upload_id.asc"), ("limit", str(MAX_LISTED)))
    return Request(method="GET", query=(_states((*CLAIMING, *UNRESOLVED)), *order))


def list_namesakes(intent: Intent) -> Request:
    """Other uploads of the same name and size, the latest first."""
    alike = tuple((name, f"eq.{getattr(intent, name)}") for name in ("provider", "account", "purpose", "size"))
    others = (("filename", f"eq.{escaped(intent.filename)}"), ("upload_id", f"neq.{intent.upload_id}"))
    order = (("order", "began_at.desc,upload_id.asc"), ("limit", str(MAX_LISTED)))
    return Request(method="GET", query=(*alike, *others, ("state", f"neq.{State.FAILED}"), *order))


def count_in_flight() -> Request:
    """How many uploads are in flight."""
    return _count((_states((*CLAIMING, *UNRESOLVED)), ("lease_until", "gte.now")))


def count_left() -> Request:
    """How many uploads dead owners left behind."""
    return _count((_states((*CLAIMING, State.ABANDONED)), _NOT_LIVING))


def count_unknown() -> Request:
    """How many uploads ended without a known outcome."""
    return _count((_states((State.UNKNOWN,)), _NOT_LIVING))


def forget() -> Request:
    """Delete what ended before yesterday."""
    old = (_states(FINISHED), ("finished_at", "lt.yesterday"), ("select", "upload_id"))
    return Request(method="DELETE", query=old)


def entry(row: Row) -> Entry:
    """An intent as the table has it.

    Raises:
        KeyError, TypeError, ValueError: the table is not the one that the migration makes.
    """
    began_at = time_of(row["began_at"])
    if began_at is None:
        raise ValueError("an intent without a beginning")
    return Entry(
        intent=Intent(
            **{name: row[name] for name in (*_CONTENT, "upload_id", "size")},
            filename=unescaped(row["filename"]),
            path=unescaped(row["path"]),
            side=UploadSide(row["side"]),
            began_at=began_at,
        ),
        state=State(row["state"]),
        facts=Facts(**{name: row[name] for name in _FACTS}),
        owner=row["owner"],
        lease_until=time_of(row["lease_until"]),
        updated_at=time_of(row["updated_at"]) or began_at,
        finished_at=time_of(row["finished_at"]),
    )


def time_of(text: str | None) -> float | None:
    """A time of the database in seconds since the epoch."""
    return None if text is None else datetime.fromisoformat(text).timestamp()


def escaped(text: str) -> str:
    """A text that Postgres can keep: names that are no UTF-8 and NULs are written out, reversibly."""
    readable = text.replace("\\", "\\\\").replace("\0", "\\u0000")
    return readable.encode("utf-8", "backslashreplace").decode()


def unescaped(text: str) -> str:
    """What `escaped` was given."""
    return _ESCAPED.sub(lambda found: "\\" if found[1] == "\\" else chr(int(found[1][1:], 16)), text)


def _news(state: State, facts: Facts) -> Row:
    body: dict[str, Any] = {"state": state.value}
    body |= {name: value for name, value in asdict(facts).items() if value is not None}
    if facts.error is not None:
        body["error"] = escaped(facts.error[:MAX_ERROR_CHARACTERS])
    return body | {"owner": None} if state in CLOSED else body


def _abandon(which: Query) -> Request:
    body = {"state": State.ABANDONED.value, "owner": None}
    return Request(method="PATCH", query=(*which, _states(CLAIMING), ("select", "upload_id")), body=body)


def _count(which: Query) -> Request:
    return Request(method="GET", query=(*which, ("select", "upload_id"), ("limit", "1")), counted=True)


def _content(intent: Intent) -> Query:
    return tuple((name, f"eq.{getattr(intent, name)}") for name in _CONTENT)


def _id(upload_id: str) -> tuple[str, str]:
    return "upload_id", f"eq.{upload_id}"


def _states(states: Sequence[State]) -> tuple[str, str]:
    if State.UNKNOWN not in states:
        return "state", f"in.({','.join(states)})"
    # not every server that speaks PostgREST's language takes this word for a text: npm's `@supabase/lite` does not
    return "state", f"not.in.({','.join(state for state in State if state not in states)})"


# The claim on a content. Each policy yields what is asked, and is sent what was answered.

ROUNDS: Final = 5
"""So often a claim is tried for that others give up and win again meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """Who claims, and what it knows.

    Attributes:
        owner: its name.
        is_dead: whether an owner is known to be dead; that of another machine never is.
        call_seconds: for how long the call has been in flight, at this moment.
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
    """Become the owner of an unfinished upload without a living owner; see `Journal.take_over`."""
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
    """Who holds the claim; None: it was taken from a dead owner, or given up meanwhile."""
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
    """The claim is ours, so none ends any more; but one may have ended while the call was in flight already."""
    since = datetime.fromisoformat(inserted["began_at"]) - timedelta(seconds=who.call_seconds())
    ended = yield find_ended(intent, since)
    for row in ended.rows:
        if not who.ended_before(row["upload_id"]):
            yield withdraw(intent.upload_id, who.owner)
            return Finished(upload_id=row["upload_id"], provider_file_id=row["provider_file_id"])
    return Opened()
