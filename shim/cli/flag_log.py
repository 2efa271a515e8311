"""Writes down who has changed the flags of a migration here, beside what the guard and rollouts have decided."""

from __future__ import annotations

import time

from flags import SHADOW_SUFFIX
from migration import MigrationError
from migration.guard import DecisionRecord
from shim.cli.output import note
from shim.process import who_acts
from shim.wiring import open_guard_store
from tools.migrations import NAMES
from tools.settings import get_settings


def write_down(flag: str, action: str, sentence: str) -> None:
    """Keep it among the decisions, if the flag is a migration's or that of its shadow.

    The flag has been changed by now, and that is what counts: a record that cannot be kept is only said.
    """
    migration = flag.removesuffix(SHADOW_SUFFIX)
    if migration not in NAMES:
        return
    now, by = time.time(), f"{who_acts()} (command line)"
    record = DecisionRecord(at=now, migration=migration, action=action, by=by, sentence=sentence, carried_out_at=now)
    try:
        open_guard_store(get_settings()).decide(record)
    except MigrationError as error:
        note(f"the flag is changed, but `shim decisions` will not show it: {error}")
