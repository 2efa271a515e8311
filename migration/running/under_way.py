"""Knows whether calls are under way: shadows let them go first, and a process that ends waits for them."""

from __future__ import annotations

import os
import time
import weakref

QUIET_SECONDS = 0.1
"""How long nothing must be under way until all calls count as ended: one may have been about to begin."""

LOOK_SECONDS = 0.02
"""How often who waits looks again."""


class UnderWay:
    """Counts the calls that are inside it; any number of threads and tasks may be at once."""

    __slots__ = ("__weakref__", "_calls", "begun", "held")

    def __init__(self) -> None:
        self.begun = 0
        """Calls that have begun; about so many, as threads may count two of them as one."""
        self.held = False
        """Whether no further call is to begin, because the process ends."""
        self._calls: list[None] = []  # adding to a list and taking from it are atomic; `+= 1` is not
        _counters.add(self)

    def none(self) -> bool:
        """Whether no call is under way."""
        return not self._calls

    @property
    def number(self) -> int:
        """How many calls are under way."""
        return len(self._calls)

    def drain(self, seconds: float) -> int:
        """Let no further call begin until `resume`, and wait for those under way, at most `seconds`.

        Returns:
            How many are still under way.
        """
        self.held = True
        deadline = time.monotonic() + seconds
        quiet_since = time.monotonic()
        while (now := time.monotonic()) < deadline:
            if self._calls:
                quiet_since = now
            elif now - quiet_since >= QUIET_SECONDS:
                break
            time.sleep(LOOK_SECONDS)
        return self.number

    def resume(self) -> None:
        """Let calls begin again: the process did not end."""
        self.held = False

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
        counter.held = False


os.register_at_fork(after_in_child=_reset_all)
