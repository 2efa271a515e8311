"""How often a context has sent a file, and what came of each attempt.

The vendors' clients send again by themselves. Who lost an answer that way has a second file at the provider, and does
not know: only the wire shows it.

Nobody looks on unless `looked_on_by()` is open in the context, so an ordinary request pays one look-up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import ParamSpec, Protocol

MAX_ATTEMPTS = 100
"""Attempts of one upload that are followed; beyond that nobody knows what was made. Clients send about three times."""


@dataclass(slots=True)
class Attempt:
    """One request that sends a file.

    Attributes:
        status: HTTP status of its answer; None while, or because, there is none.
        settled: it is known what became of it: nothing was sent, it was refused in a success, or its file was found.
    """

    status: int | None = None
    settled: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it may have made a file whose id nobody knows."""
        if self.settled:
            return False
        return (
            self.status is None
            or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            or self.status == HTTPStatus.REQUEST_TIMEOUT
        )

    @property
    def is_success(self) -> bool:
        """Whether the answer said that the file was made."""
        return self.status is not None and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


@dataclass(slots=True)
class Attempts:
    """The attempts to send one file, in their order."""

    attempts: list[Attempt] = field(default_factory=list)
    overflown: bool = False

    def begin(self) -> Attempt:
        """A request that sends the file begins."""
        attempt = Attempt()
        if len(self.attempts) < MAX_ATTEMPTS:
            self.attempts.append(attempt)
        else:
            self.overflown = True
        return attempt

    def settle_last(self) -> None:
        """It is known what became of the last one: it made no file, or its file was found."""
        if self.attempts:
            self.attempts[-1].settled = True

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self.attempts)

    def leave_doubt(self, *, failed: bool) -> bool:
        """Whether one of them may have made a file whose id nobody knows.

        Args:
            failed: no id came of all this, not even of an attempt that was answered with a success.
        """
        return self.overflown or any(
            attempt.is_open or (failed and attempt.is_success and not attempt.settled) for attempt in self.attempts
        )


_attempts: ContextVar[Attempts | None] = ContextVar("attempts", default=None)


def current_attempts() -> Attempts | None:
    """Where this context's requests that send something (`POST`) are counted, if anywhere."""
    return _attempts.get()


@contextmanager
def counting(attempts: Attempts) -> Iterator[None]:
    """Count this context's requests that send something."""
    token = _attempts.set(attempts)
    try:
        yield
    finally:
        _attempts.reset(token)


# Lets somebody look on at how far the work of one context is: which requests begin, and how many bytes have left.

P = ParamSpec("P")

_logger = logging.getLogger(__name__)


class Onlooker(Protocol):
    """Sees the requests of one context. Called from any thread; must return at once."""

    def began(self, *, method: str, url: str) -> None:
        """A request begins, or an operation of a storage (`upload_file` of `storage:PATH`)."""
        ...

    def sent(self, count: int) -> None:
        """So many more bytes of a request's body have been taken by its connection."""
        ...


_onlooker: ContextVar[Onlooker | None] = ContextVar("wire_onlooker", default=None)


def onlooker() -> Onlooker | None:
    """The onlooker of this context; None if nobody looks on."""
    return _onlooker.get()


@contextmanager
def looked_on_by(onlooker: Onlooker) -> Iterator[None]:
    """Let `onlooker` see the requests of this context, and of the threads and tasks that it begins."""
    token = _onlooker.set(onlooker)
    try:
        yield
    finally:
        _onlooker.reset(token)


def note_begin(*, method: str, url: str) -> None:
    """Tell whoever looks on that a request begins."""
    looking = _onlooker.get()
    if looking is not None:
        _contain(looking.began, method=method, url=url)


def note_sent(count: int) -> None:
    """Tell whoever looks on that so many bytes have left."""
    looking = _onlooker.get()
    if looking is not None:
        _contain(looking.sent, count)


def _contain(tell: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call the onlooker; its failure must not hurt a request."""
    try:
        tell(*args, **kwargs)
    except Exception:
        _logger.debug("who looks on at the requests failed; they are unaffected", exc_info=True)
