"""Shadows: running a sampled call again or for real, comparing both sides, and limits of what that costs."""

from migration.shadow.admission import ShadowLimits
from migration.shadow.comparing import differences, masked_fields, request_facts, shown
from migration.shadow.facts import Facts, flatten, outcome_facts
from migration.shadow.isolated import Shadow
from migration.shadow.noise import FieldNoise, FieldVerdict, NoiseBook, NoiseReport, noise_report
from migration.shadow.replay import ReadOnly
from migration.shadow.runner import ShadowRunner
from migration.shadow.undo_journal import UndoIntent, UndoJournal, UndoLimits, UndoState

__all__ = [
    "Facts",
    "FieldNoise",
    "FieldVerdict",
    "NoiseBook",
    "NoiseReport",
    "ReadOnly",
    "Shadow",
    "ShadowLimits",
    "ShadowRunner",
    "UndoIntent",
    "UndoJournal",
    "UndoLimits",
    "UndoState",
    "differences",
    "flatten",
    "masked_fields",
    "noise_report",
    "outcome_facts",
    "request_facts",
    "shown",
]
