"""The data of a rollout: its plan, its state, what it sees, and what it does next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from migration.guard.model import CallTally
from migration.model.errors import ExposureError, RolloutError

SMALLEST_PERCENT = 0.01
"""Below one percent a share is a multiple of this; from one percent on it is a whole number, as in Unleash."""

_EVERYBODY = 100.0


@dataclass(frozen=True, slots=True)
class Exposure:
    """Which calls the candidate serves.

    Attributes:
        percent: of the calls, 0 to 100.
        instance: of this instance's calls only; None for those of all instances.

    Raises:
        ExposureError: the share cannot be set exactly.
    """

    percent: float
    instance: str | None = None

    def __post_init__(self) -> None:
        step = 1.0 if self.percent >= 1 else SMALLEST_PERCENT
        steps = self.percent / step
        if not 0 <= self.percent <= _EVERYBODY or not math.isclose(steps, round(steps), abs_tol=1e-9):
            raise ExposureError(self.percent)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The share that a number in percent denotes: `10`, `0.1`.

        Raises:
            ExposureError: it is not such a number.
        """
        try:
            return cls(float(text))
        except ValueError:
            raise ExposureError(text) from None

    @property
    def probability(self) -> float | None:
        """Of any call being served by the candidate; None if that depends on the instance."""
        return None if self.instance is not None else self.percent / _EVERYBODY

    def __str__(self) -> str:
        share = f"{self.percent:g} %"
        return share if self.instance is None else f"{share} of instance {self.instance}"


HOUR = 3600.0

MARGIN = 0.01
"""Harm that a promotion tolerates: one percentage point, a fifth of what makes the guard freeze.

Without a failure it is ruled out by 600 calls of the candidate; if 2 of 100 calls fail on both sides, by 6,000.
"""


class RolloutPhase(StrEnum):
    """How far a rollout has come."""

    RUNNING = "running"
    COMPLETED = "completed"  # the candidate serves every call
    ABORTED = "aborted"  # an operator took it back
    ROLLED_BACK = "rolled_back"  # the guard or the rollout took it back

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self is not RolloutPhase.RUNNING

    @property
    def is_taken_back(self) -> bool:
        """Whether legacy serves every call."""
        return self in {RolloutPhase.ABORTED, RolloutPhase.ROLLED_BACK}


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPlan:
    """The plan of a rollout.

    Attributes:
        stages: the exposures, one after the other.
        soak: seconds that each stage lasts at least.
        margin: harm that is tolerated, as a difference of failure rates; 0.01 is one percentage point.
        alpha: probability with which a stage may be passed in error.
        manual: whether each promotion waits for an approval.
        hold_back: percent of the calls that stay on legacy at 100 % until the rollout is completed.
        settle: seconds that every process needs to follow a change; calls of that time do not count.
        stale: seconds after which data are too old to be acted upon.

    Raises:
        RolloutError: a figure is out of range, or there is no stage.
    """

    stages: tuple[Exposure, ...]
    soak: float = 24 * HOUR
    margin: float = MARGIN
    alpha: float = 0.05
    manual: bool = False
    hold_back: int = 0
    settle: float = 10.0
    stale: float = 600.0

    def __post_init__(self) -> None:
        if not self.stages:
            raise RolloutError("a rollout needs at least one stage")
        shares = [stage.percent for stage in self.stages if stage.instance is None]
        if shares != sorted(set(shares)) or 0 in shares:
            raise RolloutError("each stage must be larger than the one before")
        if not (0 < self.margin < 1 and 0 < self.alpha < 1 and 0 <= self.hold_back <= 50):  # noqa: PLR2004
            raise RolloutError("margin and alpha must lie between 0 and 1, and at most 50 % can be held back")
        if min(self.soak, self.settle) < 0 or self.stale <= 0:
            raise RolloutError("times must not be negative")

    def exposure(self, stage: int) -> Exposure:
        """The exposure of a stage; at 100 % less what is held back."""
        wanted = self.stages[stage]
        return Exposure(min(wanted.percent, 100.0 - self.hold_back)) if wanted.instance is None else wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCounts:
    """The calls of a stage so far.

    Attributes:
        legacy: the calls that legacy served.
        candidate: likewise.
        last: the latest value of each counter, by the process that counts.
        logs: the evidence of all stages, as in `SequentialTest`; empty before the first bad call.
    """

    legacy: CallTally = field(default_factory=CallTally)
    candidate: CallTally = field(default_factory=CallTally)
    last: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    logs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The state of a rollout. All of it is kept, so that another process can go on with it.

    Attributes:
        migration: its migration.
        plan: its plan.
        began: when, in seconds since the epoch.
        phase: how far it has come.
        stage: number of the stage, from 0.
        changed: when the flag was last changed as intended; None while that is pending.
        entered: when the calls of this stage began to count; None before.
        astray: when the flag last showed something that the rollout has not set; None if it never did.
        opened: whether the rollout has turned the flag on, which it does once.
        paused: whether an operator has paused it.
        approved: whether an operator has approved the next step.
        because: why it is over.
        noted: why it was held in this stage; each reason is recorded once.
        epoch: that of the guard; when the migration is resumed, the stage restarts.
        record: id of the record of the change of the flag.
        counts: the calls of this stage.
        revision: how often it was changed; a change that is based on an older revision is refused.
    """

    migration: str
    plan: RolloutPlan
    began: float
    phase: RolloutPhase = RolloutPhase.RUNNING
    stage: int = 0
    changed: float | None = None
    entered: float | None = None
    astray: float | None = None
    opened: bool = False
    paused: bool = False
    approved: bool = False
    because: str = ""
    noted: tuple[str, ...] = ()
    epoch: int = 0
    record: int | None = None
    counts: StageCounts = field(default_factory=StageCounts)
    revision: int = 0

    @property
    def exposure(self) -> Exposure:
        """The exposure that is intended."""
        if self.phase is RolloutPhase.COMPLETED:
            return Exposure(self.plan.stages[-1].percent)
        return Exposure(0) if self.phase.is_taken_back else self.plan.exposure(self.stage)

    @property
    def is_last_stage(self) -> bool:
        """Whether the next step completes it."""
        return self.stage == len(self.plan.stages) - 1

    def is_set_otherwise(self, flag: FlagShown | None) -> bool:
        """Whether the flag shows something that this rollout has not set; False if it cannot be read."""
        is_ours = flag is None or self.changed is None or (flag.enabled and flag.exposure == self.exposure)
        return not is_ours

    def state(self) -> dict[str, Any]:
        """All of it as plain data, for `restored`."""
        return asdict(self)

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Self:
        """The rollout whose `state` this is."""
        plan, counts = state["plan"], state["counts"]
        stages = tuple(Exposure(**stage) for stage in plan["stages"])
        tallies = {side: CallTally(**counts[side]) for side in ("legacy", "candidate")}
        return cls(
            **{
                **state,
                "plan": RolloutPlan(**{**plan, "stages": stages}),
                "phase": RolloutPhase(state["phase"]),
                "noted": tuple(state["noted"]),
                "counts": StageCounts(**{**counts, **tallies, "logs": tuple(counts["logs"])}),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagShown:
    """The migration's flag as it is.

    Attributes:
        enabled: whether it is on.
        exposure: of its rollout; None if its strategies are not those of one exposure.
    """

    enabled: bool
    exposure: Exposure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a rollout sees at a moment.

    Attributes:
        at: the time, in seconds since the epoch.
        age: seconds since the data were up to date; None if there are none.
        problem: why there are none, or not all.
        tripped_by: id of the guard's record that rolled the migration back.
        frozen_by: id of the guard's record that stopped its promotion.
        epoch: that of the guard.
        flag: the flag; None if it could not be read.
    """

    at: float
    age: float | None
    problem: str | None = None
    tripped_by: int | None = None
    frozen_by: int | None = None
    epoch: int = 0
    flag: FlagShown | None = None

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Self:
        """The `Seen` whose `asdict` this is."""
        shown, known = state["flag"], dict(state)
        if "latched_by" in known:  # as records of earlier versions spell it
            known["tripped_by"] = known.pop("latched_by")
        if shown is not None:
            exposure = None if shown["exposure"] is None else Exposure(**shown["exposure"])
            known["flag"] = FlagShown(enabled=shown["enabled"], exposure=exposure)
        return cls(**known)


class Move(StrEnum):
    """What a rollout does next."""

    END = "end"  # nothing, it is over
    APPLY = "apply"  # change the flag as intended
    WAIT = "wait"  # let the stage go on
    HOLD = "hold"  # likewise, for a reason that is recorded
    RESTART = "restart"  # restart the stage
    PROMOTE = "promote"
    COMPLETE = "complete"
    FREEZE = "freeze"
    ROLLBACK = "rollback"
    FOLLOW = "follow"  # the guard has rolled it back

    @property
    def changes_flag(self) -> bool:
        """Whether the flag is changed because of it."""
        return self in {Move.PROMOTE, Move.COMPLETE, Move.ROLLBACK, Move.FOLLOW}


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStep:
    """What a rollout does next, and why.

    Attributes:
        move: what it does.
        reason: why, in one word.
        sentence: both in words.
        numbers: the figures that it is based on.
    """

    move: Move
    reason: str
    sentence: str
    numbers: Mapping[str, float | int | str] = field(default_factory=dict)
