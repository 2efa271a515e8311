"""Lets somebody look on at how far the work of one context is: which requests begin, and how many bytes have left.

Nobody looks on unless `looked_on_by()` is open in the context, so an ordinary request pays one look-up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, Protocol

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
