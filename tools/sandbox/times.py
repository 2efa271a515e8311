"""Times as Postgres reads and shows them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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
