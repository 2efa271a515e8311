"""The guard: watches both sides of each migration, and rolls back when the evidence says so."""

from migration.guard.evidence import FREEZE_AT, ROLLBACK_AT, WEIGHTS, Evidence
from migration.guard.guard import Guard
from migration.guard.judge import Judge, rules_anew
from migration.guard.model import (
    Action,
    BadCall,
    FinishedCall,
    GuardFigures,
    MemoryGauge,
    Policy,
    Rule,
    Ruling,
    Signal,
    Switch,
)
from migration.guard.records import Made, Record, replayed
from migration.guard.sequential import Tally, harm_bound, rate_bounds, ratio_evidence
from migration.guard.store import GuardStanding, GuardStore
from migration.rollout.controller import Dial, RolloutController
from migration.rollout.counts import Counter, LedgerTallies, Reading, Tallies
from migration.rollout.judge import numbers_of, step_anew
from migration.rollout.model import Exposure, FlagShown, Move, Phase, Rollout, RolloutPlan, Step
from migration.rollout.store import RolloutStore, only_controller

__all__ = [
    "FREEZE_AT",
    "ROLLBACK_AT",
    "WEIGHTS",
    "Action",
    "BadCall",
    "Counter",
    "Dial",
    "Evidence",
    "Exposure",
    "FinishedCall",
    "FlagShown",
    "Guard",
    "GuardFigures",
    "GuardStanding",
    "GuardStore",
    "Judge",
    "LedgerTallies",
    "Made",
    "MemoryGauge",
    "Move",
    "Phase",
    "Policy",
    "Reading",
    "Record",
    "Rollout",
    "RolloutController",
    "RolloutPlan",
    "RolloutStore",
    "Rule",
    "Ruling",
    "Signal",
    "Step",
    "Switch",
    "Tallies",
    "Tally",
    "harm_bound",
    "numbers_of",
    "only_controller",
    "rate_bounds",
    "ratio_evidence",
    "replayed",
    "rules_anew",
    "step_anew",
]
