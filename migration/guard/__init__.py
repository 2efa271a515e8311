"""The guard: watches both sides of each migration, and rolls back when the evidence says so."""

from migration.guard._bounds import Tally, harm_bound, rate_bounds, ratio_evidence
from migration.guard._evidence import FREEZE_AT, ROLLBACK_AT, WEIGHTS, Evidence
from migration.guard._guard import Guard
from migration.guard._judge import Judge, rules_anew
from migration.guard._model import Action, BadCall, FinishedCall, GuardFigures, Policy, Rule, Ruling, Signal
from migration.guard._ports import MemoryGauge, Switch
from migration.guard._records import Made, Record
from migration.guard._rollout import Dial, RolloutController
from migration.guard._rollout_counts import Counter, Reading, Tallies
from migration.guard._rollout_exposure import Exposure
from migration.guard._rollout_judge import numbers_of, step_anew
from migration.guard._rollout_ledger import LedgerTallies
from migration.guard._rollout_lock import only_controller
from migration.guard._rollout_model import FlagShown, Move, Phase, Rollout, RolloutPlan, Step
from migration.guard._rollout_store import RolloutStore
from migration.guard._store import GuardStanding, GuardStore
from migration.guard._trail import replayed

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
