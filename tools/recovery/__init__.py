"""Looks at what is at the services, and reconciles it: unfinished uploads, orphans, what the candidate has made."""

from __future__ import annotations

from tools.recovery.decision import Resolution, Step
from tools.recovery.orphans import Orphan, OrphanKind, find_orphans, remove_orphans
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
