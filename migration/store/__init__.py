"""What the processes of a machine remember: the ledger of calls, decisions, comparisons and callers."""

from migration.store.causes import (
    Cause,
    DifferenceKind,
    Symptom,
    causes,
    generalised,
    symptoms,
)
from migration.store.ledger import Ledger
from migration.store.ledger_reader import (
    LedgerReader,
    Losses,
    MigrationStatus,
    RecordedComparison,
    SeenCaller,
    SideTotals,
)

__all__ = [
    "Cause",
    "DifferenceKind",
    "Ledger",
    "LedgerReader",
    "Losses",
    "MigrationStatus",
    "RecordedComparison",
    "SeenCaller",
    "SideTotals",
    "Symptom",
    "causes",
    "generalised",
    "symptoms",
]
