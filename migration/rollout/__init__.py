"""A rollout in stages, each passed on evidence; on top of the guard."""

from migration.rollout.controller import FlagDial, RolloutController
from migration.rollout.counts import (
    CallCounter,
    CounterReading,
    LedgerTallies,
    Tallies,
    harm_bound,
    rate_bounds,
    ratio_evidence,
)
from migration.rollout.judge import numbers_of, replay_step
from migration.rollout.model import Exposure, FlagShown, Move, Rollout, RolloutPhase, RolloutPlan, RolloutStep
from migration.rollout.store import RolloutStore, only_controller

__all__ = [
    "CallCounter",
    "CounterReading",
    "Exposure",
    "FlagDial",
    "FlagShown",
    "LedgerTallies",
    "Move",
    "Rollout",
    "RolloutController",
    "RolloutPhase",
    "RolloutPlan",
    "RolloutStep",
    "RolloutStore",
    "Tallies",
    "harm_bound",
    "numbers_of",
    "only_controller",
    "rate_bounds",
    "ratio_evidence",
    "replay_step",
]
