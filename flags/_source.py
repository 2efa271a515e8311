"""Where flag definitions come from, and how much they are to be trusted at this moment."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock

from UnleashClient.clients.unleash_client import UnleashClient

from flags._errors import FlagDefinitionsError, FlagError, FlagsNotReadyError, FlagsStaleError, RouterClosedError
from flags._snapshot import Snapshot

_log = logging.getLogger("flags")


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How old definitions may be.

    Attributes:
        doubtful_after: seconds after which decisions are still taken but marked as stale.
        dead_after: seconds after which nothing is decided from them: everything goes to legacy.
    """

    doubtful_after: float = 10.0
    dead_after: float = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A state of all flags, and the client that holds exactly this state."""

    snapshot: Snapshot
    client: UnleashClient


class Source(ABC):
    """Keeps a view of the flags up to date in the background; reading it never blocks."""

    kind: str

    def __init__(self, *, app_name: str, freshness: Freshness, clock: Callable[[], float]) -> None:
        self._app_name = app_name
        self._freshness = freshness
        self._clock = clock
        self._lock = Lock()
        self._view: View | None = None
        self._confirmed_at: float | None = None
        self._failure: FlagError | None = FlagsNotReadyError()
        self._answered = Event()
        self._closed = False

    @abstractmethod
    def start(self) -> None:
        """Begin to fetch, in the background."""

    @abstractmethod
    def stop(self, timeout: float) -> None:
        """Stop fetching; take at most about `timeout` seconds."""

    def close(self, timeout: float) -> None:
        """Decide nothing any more and stop, within about `timeout` seconds."""
        self._closed = True
        self.stop(timeout)

    def wait(self, timeout: float) -> None:
        """Wait until the first fetch has succeeded or failed, at most `timeout` seconds."""
        self._answered.wait(timeout)

    def view(self) -> View:
        """The view in force.

        Raises:
            RouterClosedError: after `close`.
            FlagsStaleError: it was not confirmed for too long.
            FlagError: there is none; the error says why.
        """
        if self._closed:
            raise RouterClosedError
        view = self._view
        if view is None:
            raise self._failure or FlagsNotReadyError()
        if self.age > self._freshness.dead_after:
            raise FlagsStaleError(self.age)
        return view

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def is_current(self, view: View) -> bool:
        """Whether this is still the view in force."""
        return self._view is view

    @property
    def age(self) -> float:
        """Seconds since the definitions were last confirmed; infinite if they never were."""
        confirmed_at = self._confirmed_at
        return float("inf") if confirmed_at is None else self._clock() - confirmed_at

    @property
    def is_doubtful(self) -> bool:
        """Whether the definitions have not been confirmed for a while."""
        return self.age > self._freshness.doubtful_after

    @property
    def failure(self) -> FlagError | None:
        """What went wrong last, if nothing went right since."""
        return self._failure

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all flags known, sorted."""
        view = self._view
        return view.snapshot.names if view else ()

    def _read(self, payload: str) -> Snapshot:
        """Read new definitions and work out what callers will ask.

        Raises:
            FlagDefinitionsError: they are broken, in whatever way: the thread that reads them must live on.
        """
        try:
            snapshot = Snapshot(payload, app_name=self._app_name)
            snapshot.warm_up(self._view.snapshot if self._view else None)
        except FlagDefinitionsError:
            raise
        except Exception as error:
            raise FlagDefinitionsError(f"they make the reader fail ({type(error).__name__})") from error
        return snapshot

    def _publish(self, view: View) -> None:
        with self._lock:
            self._view = view

    def _replace(self, old: View, new: View) -> None:
        """Publish `new`, unless something else than `old` is in force by now."""
        with self._lock:
            if self._view is old:
                self._view = new

    def _confirm(self) -> None:
        """Note that the definitions in force are those of the origin at this moment."""
        with self._lock:
            recovered = self._failure
            self._confirmed_at, self._failure = self._clock(), None
        if recovered is not None:
            _log.info("flags from %s are up to date", self.kind)
        self._answered.set()

    def _fail(self, failure: FlagError, *, forget: bool = False) -> None:
        """Note a failure, once; `forget` also drops the definitions, so that everything goes to legacy."""
        with self._lock:
            repeated = str(self._failure) == str(failure)
            self._failure = failure
            if forget:
                self._view = None
        if not repeated:
            _log.warning("flags from %s: %s", self.kind, failure)
        self._answered.set()
