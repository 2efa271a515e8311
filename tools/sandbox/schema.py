"""The tables behind PostgREST, and what their triggers and defaults write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

_DAY = timedelta(days=1)


def show_time(seconds: float) -> str:
    """Seconds since the epoch as text that sorts as the times do."""
    return _shown(datetime.fromtimestamp(seconds, UTC))


def read_time(text: str, now: float) -> str:
    """A time in the words of Postgres, or in ISO 8601, as `show_time` gives it.

    Raises:
        ValueError, OverflowError: the text is no time.
    """
    present = datetime.fromtimestamp(now, UTC)
    today = present.replace(hour=0, minute=0, second=0, microsecond=0)
    words = {"now": present, "today": today, "yesterday": today - _DAY, "tomorrow": today + _DAY}
    words["epoch"] = datetime.fromtimestamp(0, UTC)
    time = words.get(text.strip().lower()) or datetime.fromisoformat(text)
    return _shown(time if time.tzinfo is not None else time.replace(tzinfo=UTC))


def _shown(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")


# The tables behind PostgREST, and what their triggers and defaults write.


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as its clients see it.

    Attributes:
        name: its name.
        columns: their names.
        numbers: columns of whole numbers.
        times: columns of times.
        unique: what can name a row in `on_conflict`; the first is the primary key.
    """

    name: str
    columns: tuple[str, ...]
    numbers: frozenset[str]
    times: frozenset[str]
    unique: tuple[tuple[str, ...], ...]

    def constraint(self, columns: list[str]) -> str:
        """The name of what allows these columns' values only once."""
        if tuple(columns) == self.unique[0]:
            return f"{self.name}_pkey"
        return f"{self.name}_{'_'.join(columns)}_key" if tuple(columns) in self.unique else f"{self.name}_claim"


UPLOADS = Table(
    name="provider_file_uploads",
    columns=(
        "id",
        "provider",
        "provider_file_id",
        "supabase_file_id",
        "sha256",
        "filename",
        "file_size_bytes",
        "upload_status",
        "upload_method",
        "error_message",
        "last_used",
        "created_at",
        "updated_at",
    ),
    numbers=frozenset({"id", "file_size_bytes"}),
    times=frozenset({"last_used", "created_at", "updated_at"}),
    unique=(("id",), ("provider", "provider_file_id")),
)

INTENTS = Table(
    name="upload_intents",
    columns=(
        "upload_id",
        "provider",
        "account",
        "purpose",
        "sha256",
        "filename",
        "size",
        "path",
        "side",
        "state",
        "owner",
        "lease_until",
        "supabase_file_id",
        "provider_file_id",
        "attempts",
        "error",
        "began_at",
        "updated_at",
        "finished_at",
    ),
    numbers=frozenset({"size", "attempts"}),
    times=frozenset({"lease_until", "began_at", "updated_at", "finished_at"}),
    unique=(("upload_id",),),
)

TABLES = {table.name: table for table in (UPLOADS, INTENTS)}

_UNDER_WAY = "('intended', 'stored', 'sending', 'delivered')"


def insertion(table: Table, row: Mapping[str, Any], *, now: float, lease_seconds: float) -> dict[str, Any]:
    """A new row, with what the table adds by itself."""
    time = show_time(now)
    if table is UPLOADS:
        return {"created_at": time, "updated_at": time, **row}
    state = row.get("state", "intended")
    return {
        **row,
        "state": state,
        "began_at": time,
        "updated_at": time,
        "lease_until": None if row.get("owner") is None else show_time(now + lease_seconds),
        "finished_at": None if f"'{state}'" in _UNDER_WAY else time,
    }


def changes(table: Table, row: Mapping[str, Any], *, now: float, lease_seconds: float) -> tuple[str, dict[str, Any]]:
    """What an update sets, as SQL, and its values; with what the table changes by itself."""
    set_to = {name: f":_new_{name}" for name in row}
    values = {f"_new_{name}": value for name, value in row.items()}
    if table is INTENTS:
        owner, state = set_to.get("owner", "owner"), set_to.get("state", "state")
        set_to |= {
            "began_at": "began_at",
            "updated_at": ":_now",
            "lease_until": f"CASE WHEN {owner} IS NOT NULL THEN :_lease END",
            "finished_at": f"CASE WHEN {state} NOT IN {_UNDER_WAY} THEN coalesce(finished_at, :_now) END",
        }
        values |= {"_now": show_time(now), "_lease": show_time(now + lease_seconds)}
    return ", ".join(f"{name} = {value}" for name, value in set_to.items()), values
