"""The core: routes calls of a legacy function to it or to its replacement, compares both, rolls back.

Knows no vendor: who decides (`Router`), who watches (`Observer`) and how a write is rehearsed (`Replay`) are ports.
"""

from migration.model.declaration import Migration, result_as_facts
from migration.model.errors import (
    AwaitInsteadError,
    CandidateCancelledError,
    CandidateUnavailableError,
    DeclarationError,
    GuardStoreError,
    IncompleteFactsError,
    LedgerError,
    LoopClosedError,
    MigrationError,
    TargetNotFoundError,
    TrialRefusedError,
    UndoJournalError,
)
from migration.model.model import (
    Call,
    CallSite,
    Comparison,
    Decision,
    Difference,
    Entrance,
    NoiseSample,
    Notice,
    NoticeKind,
    Operation,
    Outcome,
    Reason,
    Role,
    Side,
    Verdict,
)
from migration.model.ports import Live, LiveWitness, Made, Observer, Rehearsal, Replay, Router, Trial, Witness
from migration.model.stages import ShadowMode, Stage, StageFlags, flags_of, stage_of
from migration.model.taxonomy import CauseOr, ErrorKind, Rule, Taxonomy, kind_of_status, ran_out
from migration.routing.bound import BoundShim
from migration.routing.install import BypassWarning, install, migrate, uninstall
from migration.routing.runtime import AlwaysLegacy, Runtime, current_runtime, use_runtime
from migration.routing.shim import Shim
from migration.running.blocking import call_blocking
from migration.running.callsites import calling_site
from migration.running.loop import BackgroundLoop
from migration.shadow.budget import ShadowLimits
from migration.shadow.noise import FieldNoise, FieldVerdict, NoiseBook, NoiseReport, noise_report
from migration.shadow.undo_journal import Intent, JournalLimits, State, UndoJournal
from migration.store.ledger import Ledger
from migration.store.ledger_causes import (
    MISMATCHES,
    NOT_COMPARED,
    ONE_SIDED,
    Cause,
    DifferenceKind,
    Symptom,
    causes,
    generalised,
    symptoms,
)
from migration.store.ledger_read import LedgerReader, Losses, SideTotals, Standing
from migration.store.ledger_row import RecordedComparison, SeenCaller

__all__ = [
    "MISMATCHES",
    "NOT_COMPARED",
    "ONE_SIDED",
    "AlwaysLegacy",
    "AwaitInsteadError",
    "BackgroundLoop",
    "BoundShim",
    "BypassWarning",
    "Call",
    "CallSite",
    "CandidateCancelledError",
    "CandidateUnavailableError",
    "Cause",
    "CauseOr",
    "Comparison",
    "Decision",
    "DeclarationError",
    "Difference",
    "DifferenceKind",
    "Entrance",
    "ErrorKind",
    "FieldNoise",
    "FieldVerdict",
    "GuardStoreError",
    "IncompleteFactsError",
    "Intent",
    "JournalLimits",
    "Ledger",
    "LedgerError",
    "LedgerReader",
    "Live",
    "LiveWitness",
    "LoopClosedError",
    "Losses",
    "Made",
    "Migration",
    "MigrationError",
    "NoiseBook",
    "NoiseReport",
    "NoiseSample",
    "Notice",
    "NoticeKind",
    "Observer",
    "Operation",
    "Outcome",
    "Reason",
    "RecordedComparison",
    "Rehearsal",
    "Replay",
    "Role",
    "Router",
    "Rule",
    "Runtime",
    "SeenCaller",
    "ShadowLimits",
    "ShadowMode",
    "Shim",
    "Side",
    "SideTotals",
    "Stage",
    "StageFlags",
    "Standing",
    "State",
    "Symptom",
    "TargetNotFoundError",
    "Taxonomy",
    "Trial",
    "TrialRefusedError",
    "UndoJournal",
    "UndoJournalError",
    "Verdict",
    "Witness",
    "call_blocking",
    "calling_site",
    "causes",
    "current_runtime",
    "flags_of",
    "generalised",
    "install",
    "kind_of_status",
    "migrate",
    "noise_report",
    "ran_out",
    "result_as_facts",
    "stage_of",
    "symptoms",
    "uninstall",
    "use_runtime",
]
