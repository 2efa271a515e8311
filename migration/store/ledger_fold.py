"""Folds records that say the same of different calls into one: a thousand calls take a handful of statements."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from migration.store.ledger_schema import COUNT_RUN, REMEMBER_DECISION

Write = tuple[str, tuple[Any, ...]]
"""A statement and its values."""

_LARGEST = 2**53
"""Beyond this a sum is left to SQLite: what it cannot hold is to be lost alone, and not with what it was added to."""


def folded(writes: Iterable[Write]) -> list[Write]:
    """The same in fewer statements: counts of runs are added up, and of decisions only a migration's last is kept."""
    decisions: dict[str, Write] = {}
    runs: dict[tuple[Any, ...], Write] = {}
    others: list[Write] = []
    for write in writes:
        statement, values = write
        if statement is REMEMBER_DECISION:
            decisions[values[0]] = write
        elif statement is COUNT_RUN and _is_small(write):
            known = runs.get(values[:4])
            runs[values[:4]] = write if known is None else (COUNT_RUN, _sum(known[1], values))
        else:
            others.append(write)
    return [*decisions.values(), *runs.values(), *others]


def _is_small(write: Write) -> bool:
    *_, size, _at = write[1]
    return isinstance(size, int) and 0 <= size < _LARGEST


def _sum(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
    calls, seconds, size = (one[place] + other[place] for place in (4, 5, 6))
    return (*one[:4], calls, seconds, size, max(one[7], other[7]))
