"""Where the requests of a context may go: anywhere; in a replay to its recorder only; after a trial nowhere.

Without that, a replayed client would follow a redirect that was noted to wherever it really leads, and would send what
is meant for the recorder, file and key included, to a proxy that the environment names. And without the gate, a thread
that outlives its trial would make something after everything was undone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

REFUSAL = "a replay may reach its recorder only, and a trial that is over nothing"

_origin: ContextVar[str | None] = ContextVar("wire_confinement", default=None)


class EgressGate:
    """Lets requests through until it is shut. It works for every thread and task that began behind it."""

    __slots__ = ("_shut",)

    def __init__(self) -> None:
        self._shut = False

    @property
    def is_shut(self) -> bool:
        """Whether nothing may be asked any more."""
        return self._shut

    def shut(self) -> None:
        """Let no further request begin."""
        self._shut = True


_gate: ContextVar[EgressGate | None] = ContextVar("wire_gate", default=None)


@contextmanager
def behind(gate: EgressGate | None) -> Iterator[None]:
    """Let this context's requests pass this gate; None: none."""
    token = _gate.set(gate)
    try:
        yield
    finally:
        _gate.reset(token)


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


def is_shadow() -> bool:
    """Whether this context runs for a comparison: a replay, or a trial."""
    return is_confined() or _gate.get() is not None


def may_ask(url: str) -> bool:
    """Whether this address may be asked here."""
    gate, origin = _gate.get(), _origin.get()
    if gate is not None and gate.is_shut:
        return False
    return origin is None or url.startswith(f"{origin}/")
