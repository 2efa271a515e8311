"""Drills: the new implementation goes wrong on purpose, in a sandbox, and it is measured how soon legacy serves."""

from __future__ import annotations

from tools.drill.drill import DrillError, DrillHistory, Plan, run_drill
from tools.drill.faults import DrillResult, FaultKind, Faults, faulty

__all__ = ["DrillError", "DrillHistory", "DrillResult", "FaultKind", "Faults", "Plan", "faulty", "run_drill"]
