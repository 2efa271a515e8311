"""Keeps the number of distinct attribute values, and so the memory for metrics, within bounds."""

from __future__ import annotations

import threading
from typing import Final

from observability.names import OTHER

DEFAULT_LIMIT: Final = 50


class BoundedValues:
    """Lets the first `limit` distinct values of an attribute through and calls all others `_OTHER`.

    The SDK keeps one time series for every combination of values it has ever seen and has no limit of its own.
    A value that was let through once stays itself, so no series changes its meaning.
    """

    __slots__ = ("_limit", "_lock", "_seen")

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        """Return `value`, or `_OTHER` if too many others came before it."""
        if value in self._seen:
            return value
        with self._lock:
            if value not in self._seen and len(self._seen) >= self._limit:
                return OTHER
            self._seen.add(value)
            return value
