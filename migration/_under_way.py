"""Knows whether calls are under way, so that shadows can let them go first."""

from __future__ import annotations

import os
import weakref


class UnderWay:
    """Counts the calls that are inside it; any number of threads and tasks may be at once."""

    __slots__ = ("__weakref__", "_calls", "begun")

    def __init__(self) -> None:
        self.begun = 0
        """Calls that have begun; about so many, as threads may count two of them as one."""
        self._calls: list[None] = []  # adding to a list and taking from it are atomic; `+= 1` is not
        _counters.add(self)

    def none(self) -> bool:
        """Whether no call is under way."""
        return not self._calls

    @property
    def number(self) -> int:
        """How many calls are under way."""
        return len(self._calls)

    def __enter__(self) -> None:
        self.begun += 1
        self._calls.append(None)

    def __exit__(self, *error: object) -> None:
        try:
            self._calls.pop()
        except IndexError:
            return  # begun before a fork, in whose child nothing was counted as under way


_counters: weakref.WeakSet[UnderWay] = weakref.WeakSet()


def _reset_all() -> None:
    for counter in list(_counters):
        counter._calls.clear()  # noqa: SLF001  # the module's own class


os.register_at_fork(after_in_child=_reset_all)
