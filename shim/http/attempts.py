"""How often a context has sent something, what came of each attempt, and how far its requests are.

The vendors' clients send again by themselves. A client that lost an answer that way leaves a second file at the
provider, and cannot know it: only the requests show it.

An ordinary request pays one look-up: nothing is counted or told unless `counting()` or `looked_on_by()` is open.
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
"""Attempts of one upload that are followed; what further ones made is not known. Clients send about three times."""


@dataclass(slots=True)
class Attempt:
    """One request that sends something.

    Attributes:
        status: HTTP status of its answer; None while, or because, there is none.
        body: its answer, decoded, if that was read within bounds (see `answers_within_bounds`).
        settled: it is known what became of it: nothing was sent, it was refused in a success, or its file was found.
    """

    status: int | None = None
    body: bytes = field(default=b"", repr=False)
    settled: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it may have made a file whose id is not known."""
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
    """The attempts to send one file, in their order.

    Attributes:
        attempts: the first `MAX_ATTEMPTS` of them.
        overflown: there were more.
        instead: the JSON with which each further attempt is answered without being sent; None: it is sent.
    """

    attempts: list[Attempt] = field(default_factory=list)
    overflown: bool = False
    instead: bytes | None = field(default=None, repr=False)

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
        """Whether one of them may have made a file whose id is not known.

        Args:
            failed: no id came of all this, not even of an attempt that was answered with a success.
        """
        return self.overflown or any(
            attempt.is_open or (failed and attempt.is_success and not attempt.settled) for attempt in self.attempts
        )


_attempts: ContextVar[Attempts | None] = ContextVar("attempts", default=None)


def begun_attempt(method: str) -> Attempt | None:
    """The attempt that a request of this context is, if it sends something (`POST`) and is counted."""
    counted = _attempts.get()
    return counted.begin() if counted is not None and method == "POST" else None


def answer_instead(method: str) -> bytes | None:
    """The JSON that answers a request of this context without being sent; None: it is sent."""
    counted = _attempts.get()
    return None if counted is None or method != "POST" else counted.instead


@contextmanager
def counting(attempts: Attempts | None) -> Iterator[None]:
    """Count this context's requests that send something; None: count none of them."""
    token = _attempts.set(attempts)
    try:
        yield
    finally:
        _attempts.reset(token)


# How far the work of one context is: which requests begin, and how many bytes have left.

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


_onlooker: ContextVar[Onlooker | None] = ContextVar("http_onlooker", default=None)


def onlooker() -> Onlooker | None:
    """The onlooker of this context, if there is one."""
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
    """Tell the onlooker that a request begins."""
    looking = _onlooker.get()
    if looking is not None:
        _contain(looking.began, method=method, url=url)


def note_sent(count: int) -> None:
    """Tell the onlooker that so many bytes have left."""
    looking = _onlooker.get()
    if looking is not None:
        _contain(looking.sent, count)


def _contain(tell: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call the onlooker; its failure must not hurt a request."""
    try:
        tell(*args, **kwargs)
    except Exception:
        _logger.debug("the onlooker of the requests failed; they are unaffected", exc_info=True)
