"""The durable record of what was routed and compared, in the file that all processes of a machine share.

Written by a thread of its own from a bounded queue, so that recording costs a caller microseconds and a full disk
costs it nothing. What does not fit is counted as lost, never waited for.

Of a call it keeps what the declaration shows of it (provider, number and size of the files). It keeps no contents, no
keys, no arguments, and no name of a file: a name may be personal. Only where both sides differ are their values kept,
shortened, because the difference could not be judged without them; a name is kept there if it is what differs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

from migration.model.model import Call, Comparison, Decision, Notice, Operation
from migration.model.ports import AtEnd
from migration.store.causes import generalised
from migration.store.ledger_reader import LedgerReader
from migration.store.ledger_writer import (
    ADD_COMPARISON,
    ADD_NOTICE,
    COUNT_RUN,
    GATHER_SECONDS,
    KEEP_DAYS,
    REMEMBER_CALLER,
    REMEMBER_DECISION,
    LedgerWriter,
)

MAX_TEXT = 1000
"""Characters that are kept of a detail, a notice, or a fact of a call."""

MAX_FIELD = 200
"""Characters that are kept of a field's path."""

MAX_FIELDS = 60
"""Fields that are kept of one comparison: of those that differ, are masked (indexes left out), or are noise."""


MAX_CALLERS = 1000
"""Call sites of which a process remembers when it wrote them down; beyond, all are written down again."""

CALLER_SECONDS = 60.0
"""How often a call site that is in use is written down."""


class Ledger(LedgerReader):
    """Records as an observer, and answers questions about the record.

    Args:
        path: the SQLite file; made, with its folder, when the first record is written (0600 in 0700).
        keep_days: how long comparisons and notices are kept.
        now: the clock, in seconds since the epoch.
    """

    def __init__(self, path: Path, *, keep_days: float = KEEP_DAYS, now: Callable[[], float] = time.time) -> None:
        super().__init__(path)
        self._now = now
        self._writer = LedgerWriter(path, days=keep_days, now=now)
        self._decisions: dict[str, tuple[Decision, float]] = {}
        self._callers: dict[tuple[object, ...], float] = {}

    @property
    def lost(self) -> int:
        """Records of this process that could not be written."""
        return self._writer.lost

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything recorded so far is in the file or counted as lost, at most `timeout` seconds.

        Returns:
            Whether the writer came that far in time.
        """
        return self._writer.flush(timeout)

    # As an observer

    def operation(self, operation: Operation) -> AbstractContextManager[None]:
        """Count a run when it has ended, and remember the decision of a call."""
        return AtEnd(self._ended, operation)

    def _ended(self, operation: Operation) -> None:
        if operation.outcome is None:
            return
        call, outcome, at = operation.call, operation.outcome, self._now()
        if operation.side is None:
            self._decided(call.migration, operation.decision, at)
            self._called(call, at)
            return
        size = call.attributes.get("file.size", 0) if outcome.error is None else 0
        self._writer.record(
            COUNT_RUN,
            call.migration, operation.side, operation.role, outcome.error_type or "ok", 1, outcome.seconds, size, at,
        )  # fmt: skip

    def _decided(self, migration: str, decision: Decision, at: float) -> None:
        """Remember the last decision; one that has just been written down need not be written again."""
        last, noted = self._decisions.get(migration, (None, 0.0))
        if last is decision and 0 <= at - noted < GATHER_SECONDS:
            return
        self._decisions[migration] = decision, at
        self._writer.record(
            REMEMBER_DECISION,
            migration, at, decision.serve, decision.shadow, decision.probability, decision.shadow_probability,
            decision.reason, decision.source, decision.flag_version, decision.error,
        )  # fmt: skip

    def _called(self, call: Call, at: float) -> None:
        """Remember the call site, unless that was done a moment ago."""
        site = call.site
        key = call.migration, call.function, site.file, site.line, site.function, call.entrance
        if 0 <= at - self._callers.get(key, 0.0) < CALLER_SECONDS:
            return
        if len(self._callers) >= MAX_CALLERS:
            self._callers.clear()
        self._callers[key] = at
        self._writer.record(
            REMEMBER_CALLER,
            call.migration, call.function, site.file[:MAX_TEXT], site.line, site.function[:MAX_TEXT], call.entrance,
            at, at,
        )  # fmt: skip

    def compared(self, comparison: Comparison) -> None:
        """Add one row."""
        call, decision = comparison.call, comparison.decision
        found = json.dumps([asdict(each) | {"field": _short(each.field)} for each in comparison.differences])
        noise = comparison.noise and json.dumps(
            {side: _all_short(fields) for side, fields in asdict(comparison.noise).items()}
        )
        masked = dict.fromkeys(map(generalised, comparison.masked))
        self._writer.record(
            ADD_COMPARISON,
            self._now(), call.migration, call.function, call.call_id, comparison.mode, comparison.verdict,
            found, json.dumps(_all_short(comparison.noisy)), noise,
            json.dumps(_all_short(masked)), json.dumps(_all_short(comparison.unused_masks)),
            comparison.detail[:MAX_TEXT], json.dumps(_shown(call.attributes)), decision.flag_version, decision.serve,
            comparison.primary_seconds, comparison.shadow_seconds, comparison.primary_trace, comparison.shadow_trace,
            len(found) + len(noise or ""),
        )  # fmt: skip

    def noticed(self, notice: Notice) -> None:
        """Add one row."""
        self._writer.record(ADD_NOTICE, self._now(), notice.kind, notice.migration, notice.text[:MAX_TEXT])


def _short(field: str) -> str:
    return field[:MAX_FIELD]


def _all_short(fields: Iterable[str]) -> list[str]:
    return [_short(field) for field in fields][:MAX_FIELDS]


def _shown(attributes: Mapping[str, str | int]) -> dict[str, str | int]:
    return {name: value[:MAX_TEXT] if isinstance(value, str) else value for name, value in attributes.items()}
