"""Calls for the guard's tests."""

from __future__ import annotations

from collections.abc import Iterable

from migration.guard.model import BadCall, FinishedCall, Signal


def bad(
    *, on_candidate: bool = True, probability: float = 0.1, kind: str | None = "timeout", signals: Iterable[Signal] = ()
) -> BadCall:
    """A failed call."""
    return BadCall(
        at=0.0,
        signals=frozenset(signals or {Signal.ERROR}),
        on_candidate=on_candidate,
        probability=probability,
        kind=kind,
    )


def finished(
    *,
    on_candidate: bool = False,
    probability: float = 0.5,
    kind: str | None = None,
    seconds: float = 0.1,
    at: float = 0.0,
    size: int = 1000,
    given_up: bool = False,
) -> FinishedCall:
    """A call that is over."""
    return FinishedCall(
        at=at,
        on_candidate=on_candidate,
        probability=probability,
        kind=kind,
        seconds=seconds,
        size=size,
        given_up=given_up,
    )
