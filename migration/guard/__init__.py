"""The guard: watches both sides of each migration, and rolls back when the evidence says so."""

from migration.guard._bounds import Tally, harm_bound, rate_bounds, ratio_evidence
from migration.guard._evidence import FREEZE_AT, ROLLBACK_AT, WEIGHTS, Evidence
from migration.guard._guard import Guard
from migration.guard._judge import Judge
from migration.guard._model import Action, BadCall, FinishedCall, Policy, Rule, Ruling, Signal
from migration.guard._ports import MemoryGauge, Switch
from migration.guard._records import Record
from migration.guard._store import GuardStanding, GuardStore
from migration.guard._trail import replayed

__all__ = [
    "FREEZE_AT",
    "ROLLBACK_AT",
    "WEIGHTS",
    "Action",
    "BadCall",
    "Evidence",
    "FinishedCall",
    "Guard",
    "GuardStanding",
    "GuardStore",
    "Judge",
    "MemoryGauge",
    "Policy",
    "Record",
    "Rule",
    "Ruling",
    "Signal",
    "Switch",
    "Tally",
    "harm_bound",
    "rate_bounds",
    "ratio_evidence",
    "replayed",
]
