"""Drills: the new implementation goes wrong on purpose, in a sandbox, and it is measured how soon legacy serves."""

from __future__ import annotations

from tools.drill.drill import DrillError, Plan, run_drill
from tools.drill.faults import FaultKind, Faults, faulty
from tools.drill.history import DrillHistory
from tools.drill.result import DrillResult

__all__ = ["DrillError", "DrillHistory", "DrillResult", "FaultKind", "Faults", "Plan", "faulty", "run_drill"]
