"""How far a question about a file is, told from the requests that are made for it."""

from __future__ import annotations

from enum import IntEnum
from urllib.parse import urlsplit

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
