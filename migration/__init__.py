"""The core: routes calls of a legacy function to it or to its replacement, compares both, rolls back.

Knows no vendor: who decides (`Router`), who watches (`Observer`) and how a write is rehearsed (`Replay`) are ports.
"""

from migration._blocking import call_blocking
from migration._bound import BoundShim
from migration._budget import ShadowLimits
from migration._callsites import calling_site
from migration._declaration import Migration, result_as_facts
from migration._errors import (
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
from migration._install import BypassWarning, install, migrate, uninstall
from migration._ledger import Ledger
from migration._ledger_causes import (
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
from migration._ledger_read import LedgerReader, Losses, SideTotals, Standing
from migration._ledger_row import RecordedComparison, SeenCaller
from migration._loop import BackgroundLoop
from migration._model import (
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
from migration._noise import FieldNoise, FieldVerdict, NoiseBook, NoiseReport, noise_report
from migration._ports import Live, LiveWitness, Made, Observer, Rehearsal, Replay, Router, Trial, Witness
from migration._runtime import AlwaysLegacy, Runtime, current_runtime, use_runtime
from migration._shim import Shim
from migration._stages import ShadowMode, Stage, StageFlags, flags_of, stage_of
from migration._taxonomy import CauseOr, ErrorKind, Rule, Taxonomy, kind_of_status, ran_out
from migration._undo_journal import Intent, JournalLimits, State, UndoJournal

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
