"""A world for rollouts: a clock, a flag and counters that a test turns by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from migration import Side
from migration.rollout import (
    CallCounter,
    CounterReading,
    Exposure,
    FlagShown,
    RolloutController,
    RolloutPlan,
    RolloutStore,
)

STAGES = (Exposure(1), Exposure(10), Exposure(100))
PLAN = RolloutPlan(stages=STAGES, soak=60.0, margin=0.05, settle=5.0, stale=30.0)


@dataclass
class HandDial:
    """A flag that remembers what was done to it, and can be out of reach."""

    flag: FlagShown = field(default_factory=lambda: FlagShown(enabled=False, exposure=Exposure(0)))
    done: list[str] = field(default_factory=list)
    broken: bool = False

    def shown(self, migration: str) -> FlagShown:
        del migration
        return self._reached()

    def open(self, migration: str, exposure: Exposure) -> None:
        self.set(migration, exposure)
        self.flag = FlagShown(enabled=True, exposure=exposure)

    def set(self, migration: str, exposure: Exposure) -> None:
        del migration
        self._reached()
        self.done.append(str(exposure))
        self.flag = FlagShown(enabled=self.flag.enabled, exposure=exposure)

    def close(self, migration: str, *, because: str) -> None:
        del migration
        self._reached()
        self.done.append(f"closed: {because}")
        self.flag = FlagShown(enabled=False, exposure=Exposure(0))

    def _reached(self) -> FlagShown:
        if self.broken:
            raise ConnectionError("out of reach")
        return self.flag


@dataclass
class HandTallies:
    """Counters that a test sets."""

    is_fleet: bool = True
    age: float | None = 0.0
    problem: str | None = None
    counts: dict[tuple[Side, bool], float] = field(
        default_factory=lambda: {(side, bad): 0.0 for side in Side for bad in (False, True)}
    )

    def read(self, migration: str) -> CounterReading:
        del migration
        counters = [
            CallCounter(source="web-1", key=f"{side} {bad}", side=side, bad=bad, value=value)
            for (side, bad), value in self.counts.items()
        ]
        return CounterReading(counters=counters, age=self.age, problem=self.problem)

    def add(self, *, legacy: int = 0, candidate: int = 0, legacy_bad: int = 0, candidate_bad: int = 0) -> None:
        self.counts[Side.LEGACY, False] += legacy
        self.counts[Side.LEGACY, True] += legacy_bad
        self.counts[Side.CANDIDATE, False] += candidate
        self.counts[Side.CANDIDATE, True] += candidate_bad


class World:
    """One rollout and everything around it."""

    def __init__(self, path: Path) -> None:
        self.at = 1000.0
        self.dial = HandDial()
        self.tallies = HandTallies()
        self.store = RolloutStore(path)
        self.controller = self.process()

    def process(self) -> RolloutController:
        """Another process that carries the same rollout on."""
        return RolloutController("m", store=self.store, dial=self.dial, tallies=self.tallies, now=lambda: self.at)

    def look(self, seconds: float = 0.0) -> str:
        """Let time pass, look, and say what came out."""
        self.at += seconds
        _, step = self.controller.look()
        return f"{step.move} {step.reason}"

    def begin(self, plan: RolloutPlan = PLAN) -> None:
        """Begin, and let every process follow."""
        self.controller.begin(plan, by="a test")
        assert self.look() == "apply stage"
        assert self.look(plan.settle) == "wait soaking"

    def serve_well(self, share: float, calls: int = 10_000) -> None:
        """Let so many calls go well, shared out as intended."""
        candidate = round(calls * share)
        self.tallies.add(legacy=calls - candidate, candidate=candidate)

    def actions(self) -> list[str]:
        """What was recorded, oldest first."""
        return [record.action for record in reversed(self.store.records("m"))]
