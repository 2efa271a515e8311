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

__all__ = [
    "FREEZE_AT",
    "ROLLBACK_AT",
    "WEIGHTS",
    "Action",
    "BadCall",
    "Evidence",
    "FinishedCall",
    "Guard",
    "GuardFigures",
    "GuardStanding",
    "GuardStore",
    "Judge",
    "Made",
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
    "rules_anew",
]
