"""A rollout in stages, each passed on evidence; on top of the guard."""

from migration.rollout.controller import Dial, RolloutController
from migration.rollout.counts import Counter, LedgerTallies, Reading, Tallies
from migration.rollout.judge import numbers_of, step_anew
from migration.rollout.model import Exposure, FlagShown, Move, Phase, Rollout, RolloutPlan, Step
from migration.rollout.store import RolloutStore, only_controller

__all__ = [
    "Counter",
    "Dial",
    "Exposure",
    "FlagShown",
    "LedgerTallies",
    "Move",
    "Phase",
    "Reading",
    "Rollout",
    "RolloutController",
    "RolloutPlan",
    "RolloutStore",
    "Step",
    "Tallies",
    "numbers_of",
    "only_controller",
    "step_anew",
]
