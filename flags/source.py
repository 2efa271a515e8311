"""Where flag definitions come from, and how much they are to be trusted at this moment."""

from __future__ import annotations

import logging
import os
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread

from flags.definitions import MAX_BYTES
from flags.errors import (
    FlagDefinitionsError,
    FlagError,
    FlagFileError,
    FlagsNotReadyError,
    FlagsStaleError,
    RouterClosedError,
)
from flags.snapshot import Snapshot

_log = logging.getLogger("flags")

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> float:
    """Seconds that never go back, whoever sets the time of day; those that the machine slept count, where it tells."""
    return time.clock_gettime(_CLOCK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How old definitions may be.

    Attributes:
        doubtful_after: seconds after which decisions are still taken but marked as stale.
        dead_after: seconds after which nothing is decided from them: everything goes to legacy.
    """

    doubtful_after: float = 10.0
    dead_after: float = 60.0


class FlagSource(ABC):
    """Keeps a snapshot of the flags up to date in the background; reading it never blocks."""

    kind: str

    def __init__(self, *, app_name: str, freshness: Freshness, clock: Callable[[], float]) -> None:
        self._app_name = app_name
        self._freshness = freshness
        self._clock = clock
        self._lock = Lock()
        self._snapshot: Snapshot | None = None
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

    @abstractmethod
    def count(self, name: str, *, enabled: bool) -> None:
        """Note that a flag was evaluated, for whoever wants to know how it is used."""

    def snapshot(self) -> Snapshot:
        """The state of the flags in force.

        Raises:
            RouterClosedError: after `close`.
            FlagsStaleError: it was not confirmed for too long.
            FlagError: there is none; the error says why.
        """
        if self._closed:
            raise RouterClosedError
        snapshot = self._snapshot
        if snapshot is None:
            raise self._failure or FlagsNotReadyError()
        if self.age > self._freshness.dead_after:
            raise FlagsStaleError(self.age)
        return snapshot

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

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
        snapshot = self._snapshot
        return snapshot.names if snapshot else ()

    def _read(self, payload: str) -> Snapshot:
        """Read new definitions and work out what callers will ask.

        Raises:
            FlagDefinitionsError: they are broken, in whatever way: the thread that reads them must live on.
        """
        try:
            snapshot = Snapshot(payload, app_name=self._app_name)
            snapshot.warm_up(self._snapshot)
        except FlagDefinitionsError:
            raise
        except Exception as error:
            raise FlagDefinitionsError(f"they make the reader fail ({type(error).__name__})") from error
        return snapshot

    def _publish(self, snapshot: Snapshot) -> None:
        with self._lock:
            self._snapshot = snapshot

    def _confirm(self, asked_at: float) -> None:
        """Note that the definitions in force are those of the origin as of `asked_at`, in the clock's seconds."""
        with self._lock:
            recovered = self._failure
            self._confirmed_at, self._failure = asked_at, None
        if recovered is not None:
            _log.info("flags from %s are up to date", self.kind)
        self._answered.set()

    def _fail(self, failure: FlagError, *, forget: bool = False) -> None:
        """Note a failure, once; `forget` also drops the definitions, so that everything goes to legacy."""
        with self._lock:
            repeated = str(self._failure) == str(failure)
            self._failure = failure
            if forget:
                self._snapshot = None
        if not repeated:
            _log.warning("flags from %s: %s", self.kind, failure)
        self._answered.set()


# Flags from a local file, evaluated by the same engine as a server's.


class FlagFileSource(FlagSource):
    """Reads the file several times a second, so that every edit counts, whatever the file system says of its times.

    A file that is missing or broken means that nobody knows what its author wants: everything goes to legacy at once.
    """

    kind = "file"

    def __init__(
        self, path: Path, *, interval: float, app_name: str, freshness: Freshness, clock: Callable[[], float]
    ) -> None:
        super().__init__(app_name=app_name, freshness=freshness, clock=clock)
        self._path = path
        self._interval = interval
        self._text: str | None = None
        self._stopping = Event()
        self._thread = Thread(target=self._watch, name="flags-file", daemon=True)

    def start(self) -> None:
        """Begin to watch the file."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Stop watching."""
        self._stopping.set()
        self._thread.join(timeout)

    def count(self, name: str, *, enabled: bool) -> None:
        """Do nothing: only a server counts how flags are used."""

    def _watch(self) -> None:
        self._refresh()
        while not self._stopping.wait(self._interval):
            self._refresh()

    def _refresh(self) -> None:
        asked_at = self._clock()
        try:
            self._take(read_flags_file(self._path))
        except FlagFileError as failure:
            self._text = None
            self._fail(failure, forget=True)
        else:
            self._confirm(asked_at)

    def _take(self, text: str) -> None:
        if text == self._text:
            return
        try:
            snapshot = self._read(text)
        except FlagDefinitionsError as broken:
            raise FlagFileError(self._path, broken.problem) from broken
        self._publish(snapshot)
        self._text = text


def read_flags_file(path: Path) -> str:
    """Read a flags file of at most `MAX_BYTES`, without ever waiting for a writer.

    Raises:
        FlagFileError: it is missing, unreadable, too large, or no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - opened by descriptor, so that a pipe cannot block
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FlagFileError(path, "not a regular file")
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FlagFileError(path, error.strerror or type(error).__name__) from error
    if len(content) > MAX_BYTES:
        raise FlagFileError(path, f"larger than {MAX_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise FlagFileError(path, "not UTF-8 text") from error
