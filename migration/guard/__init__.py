"""The guard: watches both sides of each migration, and rolls back when the evidence says so."""

from migration.guard.evidence import FREEZE_AT, ROLLBACK_AT, WEIGHTS, CandidateEvidence, replay_evidence
from migration.guard.flag_changes import NO_SWITCH, FlagChanges, FlagGoneError, PendingAction
from migration.guard.guard import Guard
from migration.guard.judge import Judge, replay_rules
from migration.guard.model import (
    Action,
    BadCall,
    CallTally,
    CandidateResult,
    DecisionRecord,
    FinishedCall,
    FlagSwitch,
    GuardFigures,
    Policy,
    ProcessMemoryGauge,
    Rule,
    Ruling,
    Signal,
)
from migration.guard.store import GuardStatus, GuardStore

__all__ = [
    "FREEZE_AT",
    "NO_SWITCH",
    "ROLLBACK_AT",
    "WEIGHTS",
    "Action",
    "BadCall",
    "CallTally",
    "CandidateEvidence",
    "CandidateResult",
    "DecisionRecord",
    "FinishedCall",
    "FlagChanges",
    "FlagGoneError",
    "FlagSwitch",
    "Guard",
    "GuardFigures",
    "GuardStatus",
    "GuardStore",
    "Judge",
    "PendingAction",
    "Policy",
    "ProcessMemoryGauge",
    "Rule",
    "Ruling",
    "Signal",
    "replay_evidence",
    "replay_rules",
]
