"""Knows whether calls are under way: shadows let them go first, and a process that ends waits for them."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Mapping
from contextvars import ContextVar, Token

from migration.model.model import Side

QUIET_SECONDS = 0.1
"""How long nothing must be under way until all calls count as ended: one may have been about to begin."""

LOOK_SECONDS = 0.02
"""How often who waits looks again."""


class InFlightCalls:
    """Counts the calls that are inside it; any number of threads and tasks may be at once."""

    __slots__ = ("__weakref__", "_calls", "begun", "held")

    def __init__(self) -> None:
        self.begun = 0
        """Calls that have begun; about so many, as threads may count two of them as one."""
        self.held = False
        """Whether no further call is to begin, because the process ends."""
        self._calls: list[None] = []  # adding to a list and taking from it are atomic; `+= 1` is not
        _counters.add(self)

    def idle(self) -> bool:
        """Whether no call is under way."""
        return not self._calls

    @property
    def count(self) -> int:
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
        return self.count

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


_counters: weakref.WeakSet[InFlightCalls] = weakref.WeakSet()


def _reset_all() -> None:
    for counter in list(_counters):
        counter._calls.clear()  # noqa: SLF001  # the module's own class
        counter.held = False


os.register_at_fork(after_in_child=_reset_all)


# Which side the current context already runs on: a nested call is not decided a second time.

_EVERY = "*"
_context_sides: ContextVar[Mapping[str, Side]] = ContextVar("migration_side", default={})  # noqa: B039  # never mutated


def side_of_context(migration: str) -> Side | None:
    """The side on which a call of `migration` has to stay here, if one is fixed."""
    sides = _context_sides.get()
    return sides.get(_EVERY) or sides.get(migration)


def inside_a_call() -> bool:
    """Whether this context runs a side of a call already."""
    return bool(_context_sides.get())


class side_context:  # noqa: N801  # used like a function; a generator would cost each call three times as much
    """Keep nested calls of `migration` (of all, if None) on `side`, undecided, untraced and uncompared."""

    __slots__ = ("_name", "_side", "_token")

    def __init__(self, side: Side, migration: str | None = None) -> None:
        self._side = side
        self._name = migration or _EVERY
        self._token: Token[Mapping[str, Side]]

    def __enter__(self) -> None:
        self._token = _context_sides.set({**_context_sides.get(), self._name: self._side})

    def __exit__(self, *_error: object) -> None:
        try:
            _context_sides.reset(self._token)
        except ValueError:
            return  # an abandoned coroutine is closed in another context; the pin went with its own


# Makes the ids of units of work.

_BYTES = 16
_AT_ONCE = 256
"""Ids that are made of one piece of randomness: to get it from the operating system costs more than all the rest, and
gives the GIL to whoever waits for it."""

_prepared: list[str] = []


def new_call_id() -> str:
    """An id that nobody can guess and that no other process has: 32 hexadecimal digits."""
    try:
        return _prepared.pop()
    except IndexError:
        random = os.urandom(_BYTES * _AT_ONCE).hex()
        digits = 2 * _BYTES
        first, *others = (random[start : start + digits] for start in range(0, len(random), digits))
        _prepared.extend(others)
        return first


os.register_at_fork(after_in_child=_prepared.clear)
