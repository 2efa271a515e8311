"""A row of the ledger as a value."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, fields

from migration.model.model import Difference, Entrance, NoiseSample, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedComparison:
    """One comparison as it was recorded.

    Attributes:
        id: its number in this ledger.
        at: when it was recorded, in seconds since the epoch.
        migration: name of the migration.
        function: the legacy function that was called.
        call_id: id of the call, which the event of the flag's evaluation has too.
        mode: how the other side was run (`replay`, `live`).
        verdict: what the comparison said.
        differences: the fields that differ, with both values.
        noisy: those of them that were known to be noise.
        masked: fields that were left out of the comparison, without indexes.
        unused_masks: masks that named no field of the call.
        detail: what the verdict does not say.
        attributes: what the declaration shows of a call (provider, number and size of the files).
        flag_version: version of the flag that was in force.
        primary_side: the side that the flag let serve.
        primary_seconds: how long the caller's run took.
        shadow_seconds: how long the other side took.
        primary_trace: W3C traceparent of the caller's run.
        shadow_trace: likewise of the other side's.
    """

    id: int
    at: float
    migration: str
    function: str
    call_id: str
    mode: str
    verdict: str
    differences: tuple[Difference, ...]
    noisy: tuple[str, ...]
    masked: tuple[str, ...]
    unused_masks: tuple[str, ...]
    detail: str
    attributes: Mapping[str, str | int]
    flag_version: str | None
    primary_side: Side
    primary_seconds: float | None
    shadow_seconds: float | None
    primary_trace: str | None
    shadow_trace: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCaller:
    """A place from which a migrated function was called.

    Attributes:
        migration: name of the migration.
        function: the legacy function that was called.
        file: the caller's source file.
        line: in it.
        caller: qualified name of the function around the call.
        entrance: in which way it was called (`sync`, `blocking`, `awaited`).
        first_at: when it was first seen, in seconds since the epoch.
        last_at: when it was last written down, which happens at most once a minute.
    """

    migration: str
    function: str
    file: str
    line: int
    caller: str
    entrance: Entrance
    first_at: float
    last_at: float


COLUMNS = ", ".join(field.name for field in fields(RecordedComparison))
"""The columns that make a `RecordedComparison`, in order."""


def read_row(row: sqlite3.Row) -> RecordedComparison:
    """The comparison that a row holds.

    Raises:
        ValueError, TypeError: a column holds what this program did not write.
    """
    return RecordedComparison(
        **{
            **dict(row),
            "differences": tuple(Difference(**each) for each in json.loads(row["differences"])),
            **{name: tuple(json.loads(row[name])) for name in ("noisy", "masked", "unused_masks")},
            "attributes": json.loads(row["attributes"]),
            "primary_side": Side(row["primary_side"]),
        }
    )


def read_caller(row: sqlite3.Row) -> SeenCaller:
    """The call site that a row holds.

    Raises:
        ValueError, TypeError: a column holds what this program did not write.
    """
    return SeenCaller(**{**dict(row), "entrance": Entrance(row["entrance"])})


def read_sample(text: str) -> NoiseSample:
    """The noise sample that a column holds.

    Raises:
        ValueError, TypeError: it holds what this program did not write.
    """
    return NoiseSample(**{side: tuple(fields) for side, fields in json.loads(text).items()})
