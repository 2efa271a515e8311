"""Brings uploads to an end that nobody brought to one, and finds what belongs to none."""

from __future__ import annotations

from tools.recovery.finding import Orphan, OrphanKind, Resolution, Step
from tools.recovery.orphans import find_orphans, remove_orphans
from tools.recovery.reconcile import recover, recover_in_background

__all__ = [
    "Orphan",
    "OrphanKind",
    "Resolution",
    "Step",
    "find_orphans",
    "recover",
    "recover_in_background",
    "remove_orphans",
]
