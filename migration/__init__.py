"""The core: routes calls of a legacy function to it or to its replacement, compares both, rolls back.

Knows no vendor: who decides (`Router`), who watches (`Observer`) and how a write is rehearsed (`Replay`) are ports.
"""

from migration._bound import BoundShim
from migration._callsites import calling_site
from migration._declaration import Migration, result_as_facts
from migration._errors import (
    CandidateCancelledError,
    CandidateUnavailableError,
    DeclarationError,
    LedgerError,
    LoopClosedError,
    MigrationError,
    TargetNotFoundError,
)
from migration._install import BypassWarning, install, migrate, uninstall
from migration._ledger import Ledger
from migration._ledger_read import SideTotals, Standing
from migration._loop import BackgroundLoop
from migration._model import (
    Call,
    CallSite,
    Comparison,
    Decision,
    Difference,
    Notice,
    NoticeKind,
    Operation,
    Outcome,
    Reason,
    Role,
    Side,
    Verdict,
)
from migration._ports import Observer, Rehearsal, Replay, Router, Witness
from migration._runtime import AlwaysLegacy, Runtime, current_runtime, use_runtime
from migration._shim import Shim

__all__ = [
    "AlwaysLegacy",
    "BackgroundLoop",
    "BoundShim",
    "BypassWarning",
    "Call",
    "CallSite",
    "CandidateCancelledError",
    "CandidateUnavailableError",
    "Comparison",
    "Decision",
    "DeclarationError",
    "Difference",
    "Ledger",
    "LedgerError",
    "LoopClosedError",
    "Migration",
    "MigrationError",
    "Notice",
    "NoticeKind",
    "Observer",
    "Operation",
    "Outcome",
    "Reason",
    "Rehearsal",
    "Replay",
    "Role",
    "Router",
    "Runtime",
    "Shim",
    "Side",
    "SideTotals",
    "Standing",
    "TargetNotFoundError",
    "Verdict",
    "Witness",
    "calling_site",
    "current_runtime",
    "install",
    "migrate",
    "result_as_facts",
    "uninstall",
    "use_runtime",
]
