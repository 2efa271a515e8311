"""What a process knows of its calls: where they come from, how many are in flight, their side context, their ids."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import CodeType, FrameType

from migration.forking import new_lock, renew_in_child
from migration.model.model import CallSite, Side

# Call sites

MAX_REPORTED_SITES = 1000
"""Call sites that are reported as blocking an event loop; further ones are not."""

MAX_KNOWN_SITES = 1000
"""Call sites that are remembered; with one more, all are forgotten and looked up again."""

_PACKAGE = __name__.partition(".")[0]
_INSIDE = f"{_PACKAGE}."

_sites: dict[tuple[int, int], tuple[CodeType, CallSite]] = {}
"""By the identity of the code and the place in it. The code is kept beside it, so that its identity stays its own."""


redirecting_codes: dict[int, CodeType] = {}
"""By identity: code of this package that runs as a function of somebody else's module, and is no call site."""


def calling_site() -> CallSite:
    """The innermost frame outside this package."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # inspect.stack() reads source files: milliseconds
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module != _PACKAGE and not module.startswith(_INSIDE) and id(frame.f_code) not in redirecting_codes:
            known = _sites.get((id(frame.f_code), frame.f_lasti))
            return known[1] if known else _remembered(frame)
        frame = frame.f_back
    return CallSite(function="?", file="?", line=0)


def _remembered(frame: FrameType) -> CallSite:
    """The site of a frame that is not known yet: finding a line's number is slow in a long function."""
    code = frame.f_code
    site = CallSite(function=code.co_qualname, file=code.co_filename, line=frame.f_lineno)
    if len(_sites) >= MAX_KNOWN_SITES:
        _sites.clear()
    _sites[id(code), frame.f_lasti] = code, site
    return site


def place_of(thread: int | None) -> str:
    """Where a thread of this identity is now, in words."""
    frame = None if thread is None else sys._current_frames().get(thread)  # noqa: SLF001  # the only way to see another thread
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_qualname})"


class OncePerSite:
    """Says of each call site once that it is new."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, int]] = set()
        self._lock = new_lock()

    def is_new(self, site: CallSite) -> bool:
        """Whether this site has not been seen and can be remembered."""
        key = (site.file, site.line)
        with self._lock:
            if key in self._seen or len(self._seen) >= MAX_REPORTED_SITES:
                return False
            self._seen.add(key)
            return True


def inside_running_loop() -> bool:
    """Whether the caller would block an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


# In-flight calls

QUIET_SECONDS = 0.1
"""How long no call must be in flight until `drain` takes all as ended: one may have been about to begin."""

POLL_SECONDS = 0.02
"""How often a call that is held back, and `drain`, look again."""


class InFlightCalls:
    """Counts the calls that are inside it as a context manager, from any number of threads and tasks.

    Attributes:
        begun: calls that have begun; threads may count two of them as one.
        held: whether further calls have to wait, because the process is about to end.
    """

    __slots__ = ("__weakref__", "_calls", "begun", "held")

    def __init__(self) -> None:
        self.begun = 0
        self.held = False
        self._calls: list[None] = []  # adding to a list and taking from it are atomic; `+= 1` is not
        renew_in_child(self)

    def begin_in_child(self) -> None:
        """Begin with no call: those in flight are the parent's."""
        self._calls.clear()
        self.held = False

    def idle(self) -> bool:
        """Whether no call is in flight."""
        return not self._calls

    @property
    def count(self) -> int:
        """How many calls are in flight."""
        return len(self._calls)

    def drain(self, seconds: float) -> int:
        """Hold further calls back until `resume`, and wait for those in flight, at most `seconds`.

        Returns:
            How many are still in flight.
        """
        self.held = True
        quiet_since = time.monotonic()
        deadline = quiet_since + seconds
        while (now := time.monotonic()) < deadline:
            if self._calls:
                quiet_since = now
            elif now - quiet_since >= QUIET_SECONDS:
                break
            time.sleep(POLL_SECONDS)
        return self.count

    def resume(self) -> None:
        """Let the calls begin that are held back: the process did not end."""
        self.held = False

    def __enter__(self) -> None:
        self.begun += 1
        self._calls.append(None)

    def __exit__(self, *error: object) -> None:
        try:
            self._calls.pop()
        except IndexError:
            return  # begun before a fork, in whose child the count starts at 0


# Side context: the side on which the current context runs, where nested calls are not decided again

_ALL = "*"
_sides: ContextVar[Mapping[str, side_context]] = ContextVar("migration_sides", default={})  # noqa: B039  # never mutated

OWN_VARIABLES = frozenset({_sides})
"""Context variables of the library, which say what is true of a run, not of its caller."""


def side_around(migration: str) -> side_context | None:
    """The run around this context, whose side calls of `migration` take; None if they are decided."""
    sides = _sides.get()
    for name in (_ALL, migration):
        found = sides.get(name)
        if found is not None and not found.ended:
            return found
    return None


def inside_a_call() -> bool:
    """Whether this context runs a side of a call that goes on."""
    for found in _sides.get().values():  # noqa: SIM110  # a generator would cost each call more
        if not found.ended:
            return True
    return False


def inside_a_shadow() -> bool:
    """Whether this context runs for a comparison."""
    found = _sides.get().get(_ALL)
    return found is not None and not found.ended


def end_shadow() -> None:
    """End the side of the shadow that this context runs for, also where it was copied to."""
    found = _sides.get().get(_ALL)
    if found is not None:
        found.ended = True


class side_context:  # noqa: N801  # used like a function; a generator would cost each call three times as much
    """Run nested calls of `migration` (of all migrations, if None) on `side`: undecided, untraced, uncompared.

    It ends with its call, also in the contexts that tasks and threads copied meanwhile: their later calls are decided.
    Two kinds of run can go on after their caller has gone, and stay on their side: a shadow (`migration` is None), and
    the run of a caller that was cancelled or interrupted.
    """

    __slots__ = ("_name", "_token", "candidate", "ended", "side")

    def __init__(self, side: Side, migration: str | None = None, candidate: object = None) -> None:
        self.side = side
        self.candidate = candidate
        self.ended = False
        self._name = migration or _ALL
        self._token: Token[Mapping[str, side_context]]

    def __enter__(self) -> None:
        self._token = _sides.set({**_sides.get(), self._name: self})

    def __exit__(self, error: type[BaseException] | None, *_error: object) -> None:
        self.ended = self._name != _ALL and (error is None or issubclass(error, Exception))
        token = self._token
        del self._token  # it refers to this context, which a copy would keep alive
        try:
            _sides.reset(token)
        except ValueError:
            return  # an abandoned coroutine is closed in another context; the side ended with its own context


# Call ids

PREPARED_IDS = 256
"""Ids made of one read of the system's randomness, which costs more than the rest and releases the GIL."""

_ID_BYTES = 16
_prepared: list[str] = []


def new_call_id() -> str:
    """An id that cannot be guessed and that no other process has: 32 hexadecimal digits."""
    try:
        return _prepared.pop()
    except IndexError:
        random = os.urandom(_ID_BYTES * PREPARED_IDS).hex()
        digits = 2 * _ID_BYTES
        first, *others = (random[start : start + digits] for start in range(0, len(random), digits))
        _prepared.extend(others)
        return first


os.register_at_fork(after_in_child=_prepared.clear)
