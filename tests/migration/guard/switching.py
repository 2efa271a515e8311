"""A world for the guard: a router with a share, flags that remember, and functions that go badly as often as told."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from migration import Call, Decision, Migration, Reason, Runtime, Side, migrate
from migration.guard import Guard


@dataclass
class ShareRouter:
    """Sends a share of the calls to the candidate, by a random source that can be drawn again."""

    share: float = 0.1
    source: random.Random = field(default_factory=lambda: random.Random(5))

    def decide(self, call: Call) -> Decision:
        """Draw."""
        del call
        serve = Side.CANDIDATE if self.source.random() < self.share else Side.LEGACY
        return Decision(serve=serve, probability=self.share, reason=Reason.SPLIT, source="drawn", flag_version="v1")


@dataclass
class Flags:
    """Flags that remember what was done to them, and can be out of reach."""

    done: list[tuple[str, str]] = field(default_factory=list)
    unreachable: int = 0

    def turn_off(self, migration: str, *, because: str) -> str:
        """Remember it."""
        del because
        self._reach()
        self.done.append(("off", migration))
        return "v2"

    def compare_more(self, migration: str, *, percent: int, because: str) -> None:
        """Remember it."""
        del percent, because
        self._reach()
        self.done.append(("compare", migration))

    def _reach(self) -> None:
        if self.unreachable:
            self.unreachable -= 1
            raise ConnectionError("out of reach")


def work(
    guard: Guard,
    *,
    legacy_fails: float = 0.0,
    candidate_fails: float = 0.0,
    error: type[Exception] = TimeoutError,
    name: str = "m",
    runtime: Runtime | None = None,
) -> Callable[[], bool]:
    """A migrated function behind the guard: each call says whether it went well."""
    source = random.Random(9)
    runtime = runtime or Runtime(router=guard, observers=[guard])

    async def candidate() -> None:
        if source.random() < candidate_fails:
            raise error("candidate")

    @migrate(Migration(name=name, candidate=candidate), runtime=runtime)
    def legacy() -> None:
        if source.random() < legacy_fails:
            raise error("legacy")

    def call() -> bool:
        try:
            legacy()
        except Exception:  # noqa: BLE001  # whatever was asked for
            return False
        return True

    return call


def calls_until(done: Callable[[], Any], call: Callable[[], bool], *, at_most: int = 20_000) -> int:
    """How many calls it takes until `done`."""
    for number in range(at_most):
        if done():
            return number
        call()
    raise AssertionError(f"not within {at_most} calls")
