"""An orderly end on SIGTERM: no call begins any more, those in flight end, and only then does the process.

A process without a handler of its own is ended by the signal as ever, once it is drained. A handler that was there
before is called then, in the main thread as ever; if the process goes on after it, so do calls. Where an event loop
handles the signal, where threads are greenlets, which a signal's handler cannot wait for, or where it is ignored,
everything stays as it is: what ends such a process calls `stop()`.
"""

from __future__ import annotations

import getpass
import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Protocol

from migration.threads import greenlets_of

_logger = logging.getLogger(__name__)

Handler = Callable[[int, FrameType | None], object]


class Drained(Protocol):
    """What is drained."""

    def drain(self) -> int:
        """Begin nothing, wait a bounded time for what is in flight, and return how much of it has not ended."""
        ...

    def resume(self) -> None:
        """Go on after all."""
        ...

    def close(self) -> None:
        """Keep what is known, within bounds: the process ends."""
        ...


class SigtermDrain:
    """Handles SIGTERM from `install` to `remove`. A second one ends the drain."""

    def __init__(self) -> None:
        self._drained: Drained | None = None
        self._before: Handler | signal.Handlers = signal.SIG_DFL
        self._received = False

    def install(self, drained: Drained) -> None:
        """Begin to handle the signal; elsewhere than in the main thread, which alone may do that, nothing happens."""
        if threading.current_thread() is not threading.main_thread():
            return
        before = signal.getsignal(signal.SIGTERM)
        if before is signal.SIG_DFL or (callable(before) and not _is_of_an_event_loop(before)):
            self._drained, self._before = drained, before
            signal.signal(signal.SIGTERM, self._handle)

    def remove(self) -> None:
        """Put the former handler back, unless another has taken the signal over since."""
        if threading.current_thread() is threading.main_thread() and self._drained is not None:
            if signal.getsignal(signal.SIGTERM) == self._handle:
                signal.signal(signal.SIGTERM, self._before)
            self._drained = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Runs in the main thread between two steps of whatever it does, so all waiting happens in another one."""
        drained = self._drained
        if drained is not None and not self._received and greenlets_of() is None:
            self._received = True
            try:
                threading.Thread(target=self._drain, args=(drained,), name="drain", daemon=True).start()
            except RuntimeError as error:  # then the process ends as it would without a drain
                _logger.warning("SIGTERM ends calls in flight: %s", error)
            else:
                return
        self._received = False
        if callable(self._before):
            try:
                self._before(number, frame)
            finally:
                if drained is not None:
                    drained.resume()
        else:
            signal.signal(signal.SIGTERM, self._before)
            os.kill(os.getpid(), signal.SIGTERM)

    def _drain(self, drained: Drained) -> None:
        try:
            left = drained.drain()
            if left:
                _logger.warning("%d calls did not end in time after SIGTERM", left)
            if not callable(self._before):
                drained.close()
        finally:
            if self._received:  # no second one has come meanwhile
                os.kill(os.getpid(), signal.SIGTERM)


def _is_of_an_event_loop(handler: object) -> bool:
    return str(getattr(handler, "__module__", "")).partition(".")[0] in {"asyncio", "uvloop"}


# Who acts, for the record of decisions.


def who_acts() -> str:
    """The name of this process's user; the number of one that has no name, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # which of them depends on the version of Python
        return f"user {os.getuid()}"
