"""Carries out a policy step by step, so that one policy serves synchronous and asynchronous callers."""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import Generic, TypeVar

from migration.model.model import Outcome, Side

R = TypeVar("R")

Policy = Generator[Side, Outcome[R], Outcome[R]]
"""Yields the side to run, receives how that ended, returns what the caller gets."""


class Plan(Generic[R]):
    """A policy under way. `side` is what to run next; when it is None, `answer` holds what the caller gets."""

    def __init__(self, policy: Policy[R]) -> None:
        self._policy = policy
        self._answer: Outcome[R] | None = None
        self.side: Side | None = None
        self._advance(None)

    def __enter__(self) -> None:
        """Run `side` inside: what interrupts it (a cancellation, Ctrl-C) passes through the policy on its way out."""

    def __exit__(
        self, kind: type[BaseException] | None, interrupt: BaseException | None, trace: TracebackType | None
    ) -> None:
        if interrupt is not None:
            self._policy.throw(interrupt)

    def ended(self, outcome: Outcome[R]) -> None:
        """Tell the policy how `side` ended."""
        self._advance(outcome)

    def unwrap(self) -> R:
        """What the caller gets: the value, or the exception."""
        return self._taken_answer().unwrap()

    def _taken_answer(self) -> Outcome[R]:
        """The answer, kept nowhere else: an exception that refers to the frames of a call must not be kept by them."""
        assert self._answer is not None  # noqa: S101  # asked for only when `side` is None
        answer, self._answer = self._answer, None
        return answer

    def _advance(self, outcome: Outcome[R] | None) -> None:
        try:
            self.side = next(self._policy) if outcome is None else self._policy.send(outcome)
        except StopIteration as finished:
            self.side, self._answer = None, finished.value
