"""Tells a client how far its call is: a few times a second, in numbers that only rise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from enum import IntEnum
from pathlib import Path
from urllib.parse import urlsplit

from shim.http.attempts import looked_on_by
from tools.settings import MEGABYTE

_READS = frozenset({"GET", "HEAD"})
_GOES_ON = "PATCH"
"""The next piece of the same body; every other request that sends a body begins with it anew."""


class Phase(IntEnum):
    """What is being done, in the order in which it is done. A phase may be left out."""

    HASHING = 0
    COPY = 1  # to the storage
    UPLOAD = 2  # to the provider
    READING = 3  # the provider reads the file
    ANSWERING = 4

    @property
    def word(self) -> str:
        """As in messages."""
        return self.name.lower()


class Progress:
    """How far one call is. Written by whoever does the work, read by whoever reports it.

    Attributes:
        phase: the furthest phase that was begun.
        bytes_sent: bytes of a body that have been taken by its connection in this phase.
        seen: the phases that were begun, in order.
    """

    def __init__(self) -> None:
        self.phase = Phase.HASHING
        self.bytes_sent = 0
        self.seen = [Phase.HASHING]

    def began(self, *, method: str, url: str) -> None:
        """Take note of a request; one of an earlier phase (another provider is tried) leaves the phase as it is."""
        phase = phase_of(method, url)
        if phase is None:
            return
        if phase > self.phase:
            self.phase = phase
            self.seen.append(phase)
        elif phase < self.phase or method == _GOES_ON:
            return
        self.bytes_sent = 0

    def sent(self, count: int) -> None:
        """Take note of bytes that have left."""
        self.bytes_sent += count


def phase_of(method: str, url: str) -> Phase | None:
    """What a request is made for; None for one that says nothing about it, such as a look at a list."""
    service, path = urlsplit(url).scheme, urlsplit(url).path
    if service == "storage" or "/storage/v1/" in path:
        return Phase.COPY if method == "upload_file" or (service != "storage" and method not in _READS) else None
    if path.endswith("/chat/completions"):
        return Phase.ANSWERING
    if path.endswith("/files"):
        return None if method in _READS else Phase.UPLOAD
    return Phase.READING if "/files/" in path else None


# Tells a client how far its call is: a few times a second, in numbers that only rise.

LOOK_SECONDS = 0.1
"""Between two looks at how far a call is, so a client gets at most ten notifications a second and five at the end."""

_WITH_BYTES = frozenset({Phase.COPY, Phase.UPLOAD})

Tell = Callable[[float, float, str], Awaitable[None]]
"""Reports `progress` of `total`, and a message."""


@asynccontextmanager
async def reported(tell: Tell, file: str) -> AsyncIterator[None]:
    """Report how far the work inside is: one unit a phase, and within an upload the share of its bytes that has left.

    Args:
        tell: what reports.
        file: the path as the client gave it.
    """
    progress = Progress()
    reporter = _Reporter(progress, tell, file)
    with looked_on_by(progress):
        looking = asyncio.create_task(reporter.keep_reporting())
        try:
            yield
            await reporter.report()
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking


class _Reporter:
    def __init__(self, progress: Progress, tell: Tell, file: str) -> None:
        self._progress = progress
        self._tell = tell
        self._file = file
        self._told = -1.0
        self._phases_told = 0
        self._reporting = asyncio.Lock()

    async def keep_reporting(self) -> None:
        while True:
            await self.report()
            await asyncio.sleep(LOOK_SECONDS)

    async def report(self) -> None:
        """Report each phase that was begun since the last time, and how far the last of them is."""
        async with self._reporting:
            for phase in self._progress.seen[self._phases_told :]:
                self._phases_told += 1
                await self._report(float(phase), phase.word)
            phase, sent = self._progress.phase, self._progress.bytes_sent
            size = await asyncio.to_thread(_size_of, self._file) if phase in _WITH_BYTES and sent else 0
            if size:
                sent = min(sent, size)  # the form around the file is sent as well
                message = f"{phase.word}: {sent / MEGABYTE:.1f} of {size / MEGABYTE:.1f} MB sent"
                await self._report(phase + sent / size * _LESS_THAN_A_PHASE, message)

    async def _report(self, progress: float, message: str) -> None:
        if progress > self._told:
            self._told = progress
            await self._tell(progress, float(len(Phase)), message)


_LESS_THAN_A_PHASE = 0.99
"""All bytes have left, but the answer is still to come: the next phase has a number of its own."""


def _size_of(file: str) -> int:
    """Bytes of a file that is being sent; 0 if it cannot be looked at any more."""
    try:
        return Path(file).stat().st_size
    except OSError:
        return 0
