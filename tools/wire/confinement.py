"""Where the requests of a context may go: anywhere, or, in a rehearsal, to its recorder and to nobody else.

Without that, a rehearsed client would follow a redirect that was noted to wherever it really leads, and would send what
is meant for the recorder, file and key included, to a proxy that the environment names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

REFUSAL = "a rehearsal asks nobody but its recorder"

_origin: ContextVar[str | None] = ContextVar("wire_confinement", default=None)


@contextmanager
def confined_to(origin: str) -> Iterator[None]:
    """Let this context's requests go to this origin (scheme, host and port) only, and straight there."""
    token = _origin.set(origin)
    try:
        yield
    finally:
        _origin.reset(token)


def is_confined() -> bool:
    """Whether requests may go to one origin only, and must not take the way through a proxy."""
    return _origin.get() is not None


def may_ask(url: str) -> bool:
    """Whether this address may be asked here."""
    origin = _origin.get()
    return origin is None or url.startswith(f"{origin}/")
