"""The journal's tables in SQLite, and what is done in them. Every function runs within a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import asdict, fields

from tools.journal.port import (
    CLAIMING,
    FINISHED,
    UNRESOLVED,
    Entry,
    Facts,
    Finished,
    Held,
    Intent,
    Opened,
    Opening,
    State,
    UploadSide,
)

KEPT_SECONDS = 3600.0
"""How long a finished upload stays in the journal."""

KEPT_UPLOADS = 10_000
"""How many finished uploads stay at most; the oldest go first. What is unresolved is never forgotten."""

_ROW_BYTES = 512
"""What an intent takes in the file besides its names, with its indexes."""

_STATES = {
    name: ", ".join(f"'{state}'" for state in states)
    for name, states in {"claiming": CLAIMING, "unfinished": (*CLAIMING, *UNRESOLVED), "finished": FINISHED}.items()
}
_INTENT = tuple(field.name for field in fields(Intent))
_FACTS = tuple(field.name for field in fields(Facts))
_ENTRY = (*_INTENT, "state", *_FACTS, "owner", "lease_until", "updated_at", "finished_at")

_SAME_CONTENT = "sha256 = :sha256 AND provider = :provider AND account = :account AND purpose = :purpose"

_FIND_FINISHED = (
    f"SELECT upload_id, provider_file_id FROM upload_intents WHERE {_SAME_CONTENT} AND finished_at >= :since "  # noqa: S608  # as above
    f"AND state IN ('{State.DONE}', '{State.UNKNOWN}') AND provider_file_id IS NOT NULL "
    "ORDER BY finished_at DESC LIMIT 1"
)

_FIND_CLAIM = f"SELECT upload_id, owner FROM upload_intents WHERE {_SAME_CONTENT} AND state IN ({_STATES['claiming']})"  # noqa: S608  # as above

_ABANDON = (
    f"UPDATE upload_intents SET state = '{State.ABANDONED}', owner = NULL, updated_at = :now, finished_at = :now "  # noqa: S608  # as above
    "WHERE upload_id = :upload_id"
)

_INSERT = (
    f"INSERT INTO upload_intents ({', '.join(_INTENT)}, state, owner, updated_at) "  # noqa: S608  # as above
    f"VALUES ({', '.join(':' + name for name in _INTENT)}, '{State.INTENDED}', :owner, :now)"
)

_LEARN = ", ".join(f"{name} = coalesce(:{name}, {name})" for name in _FACTS)

_NOTE = (
    f"UPDATE upload_intents SET state = :state, {_LEARN}, updated_at = :now "  # noqa: S608  # as above
    f"WHERE upload_id = :upload_id AND owner = :owner"
)

_CLOSE = (
    f"UPDATE upload_intents SET state = :state, {_LEARN}, owner = NULL, updated_at = :now, finished_at = :now "  # noqa: S608  # as above
    "WHERE upload_id = :upload_id AND owner = :owner"
)

_UNFINISHED = (
    f"SELECT {', '.join(_ENTRY)} FROM upload_intents "  # noqa: S608  # as above
    f"WHERE state IN ({_STATES['unfinished']})"
)

_SIZE = (
    f"SELECT count(*) * {_ROW_BYTES} + coalesce(sum(length(path) + length(filename)), 0) FROM upload_intents "  # noqa: S608  # as above
    f"WHERE state IN ({_STATES['unfinished']})"
)

_NAMESAKES = (
    f"SELECT {', '.join(_ENTRY)} FROM upload_intents WHERE provider = :provider AND account = :account "  # noqa: S608  # as above
    "AND purpose = :purpose AND size = :size AND filename = :filename AND upload_id <> :upload_id "
    f"AND state <> '{State.FAILED}'"
)

_FORGET = (
    f"DELETE FROM upload_intents WHERE state IN ({_STATES['finished']}) AND finished_at <= max(:before, coalesce("  # noqa: S608  # as above
    f"(SELECT finished_at FROM upload_intents WHERE state IN ({_STATES['finished']}) "
    "ORDER BY finished_at DESC LIMIT 1 OFFSET :kept), 0))"
)


def open_intent(
    database: sqlite3.Connection,
    intent: Intent,
    *,
    owner: str,
    is_alive: Callable[[str], bool],
    make_sure_of_room: Callable[[sqlite3.Connection], None],
    overlapping: float,
    now: float,
) -> Opening:
    """See `Journal.open`; `make_sure_of_room` raises where nothing more can be written down."""
    content = _content(intent)
    finished = database.execute(_FIND_FINISHED, content | {"since": now - overlapping}).fetchone()
    if finished is not None:
        return Finished(upload_id=finished[0], provider_file_id=finished[1])
    claim = database.execute(_FIND_CLAIM, content).fetchone()
    if claim is not None:
        holder, holders_owner = claim
        if holders_owner is not None and is_alive(holders_owner):
            return Held(upload_id=holder, owner=holders_owner)
        database.execute(_ABANDON, {"upload_id": holder, "now": now})
    make_sure_of_room(database)
    database.execute(_INSERT, content | {"owner": owner, "now": now})
    return Opened()


def note(database: sqlite3.Connection, upload_id: str, state: State, facts: Facts, *, owner: str, now: float) -> None:
    """See `Journal.note`. A process that has lost an intent to another one changes nothing."""
    database.execute(_NOTE, asdict(facts) | {"upload_id": upload_id, "state": state, "owner": owner, "now": now})


def close(database: sqlite3.Connection, upload_id: str, state: State, facts: Facts, *, owner: str, now: float) -> None:
    """See `Journal.close`; likewise."""
    database.execute(_CLOSE, asdict(facts) | {"upload_id": upload_id, "state": state, "owner": owner, "now": now})


def unfinished(database: sqlite3.Connection) -> list[Entry]:
    """See `Journal.unfinished`."""
    return [_entry(row) for row in database.execute(f"{_UNFINISHED} ORDER BY began_at, upload_id")]


def namesakes(database: sqlite3.Connection, intent: Intent) -> list[Entry]:
    """See `Journal.namesakes`."""
    return [_entry(row) for row in database.execute(_NAMESAKES, _content(intent))]


def take_over(
    database: sqlite3.Connection, upload_id: str, *, owner: str, is_alive: Callable[[str], bool], now: float
) -> Entry | None:
    """See `Journal.take_over`."""
    row = database.execute(f"{_UNFINISHED} AND upload_id = ?", (upload_id,)).fetchone()
    if row is None:
        return None
    entry = _entry(row)
    if entry.owner is not None and is_alive(entry.owner):
        return None
    database.execute("UPDATE upload_intents SET owner = ?, updated_at = ? WHERE upload_id = ?", (owner, now, upload_id))
    return entry


def release(database: sqlite3.Connection, upload_id: str, *, owner: str, now: float) -> None:
    """See `Journal.release`."""
    database.execute(
        "UPDATE upload_intents SET owner = NULL, updated_at = ? WHERE upload_id = ? AND owner = ?",
        (now, upload_id, owner),
    )


def count_unjournaled(database: sqlite3.Connection, *, now: float) -> None:
    """One more upload went on without the journal."""
    database.execute(
        "INSERT INTO unjournaled VALUES (1, 1, ?) "
        "ON CONFLICT (id) DO UPDATE SET uploads = uploads + 1, last_at = excluded.last_at",
        (now,),
    )


def unjournaled(database: sqlite3.Connection) -> tuple[int, float | None]:
    """How many uploads went on without the journal, and when the last one did."""
    row = database.execute("SELECT uploads, last_at FROM unjournaled").fetchone()
    return (0, None) if row is None else (row[0], row[1])


def unfinished_bytes(database: sqlite3.Connection) -> int:
    """About how much of the file is taken by what is never forgotten."""
    return int(database.execute(_SIZE).fetchone()[0])


def forget(database: sqlite3.Connection, *, now: float) -> None:
    """Delete finished uploads that are too old or too many."""
    database.execute(_FORGET, {"before": now - KEPT_SECONDS, "kept": KEPT_UPLOADS})


def _entry(row: tuple[object, ...]) -> Entry:
    values = dict(zip(_ENTRY, row, strict=True))
    intent = {name: _restored(values.pop(name)) for name in _INTENT}
    facts = {name: values.pop(name) for name in _FACTS}
    return Entry(
        intent=Intent(**intent | {"side": UploadSide(str(intent["side"]))}),  # type: ignore[arg-type]  # columns are typed by the schema
        facts=Facts(**facts),  # type: ignore[arg-type]  # likewise
        **values | {"state": State(str(values["state"]))},  # type: ignore[arg-type]  # likewise
    )


def _content(intent: Intent) -> dict[str, object]:
    return {name: _storable(value) for name, value in asdict(intent).items()}


def _storable(value: object) -> object:
    """A name that is no UTF-8 holds half characters, which SQLite takes as bytes only."""
    if not isinstance(value, str):
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
    return value


def _restored(value: object) -> object:
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value
