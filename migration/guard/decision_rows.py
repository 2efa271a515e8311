"""Decisions as rows of the guard's file, within a transaction that the caller has begun."""

from __future__ import annotations

import json
import sqlite3

from migration.guard.records import Record, call_as_data
from migration.guard.schema import ADD_RECORD, HOLD


def keep_decision(database: sqlite3.Connection, record: Record, *, due: bool) -> int:
    """Insert a decision and let it hold; `due`: whether the flag is still to be changed. Returns its id."""
    number = insert_record(database, record)
    if record.action in {"freeze", "rollback"}:
        latched = number if record.action == "rollback" else None
        database.execute(HOLD, (record.migration, latched, number, not (due and latched)))
    return number


def insert_record(database: sqlite3.Connection, record: Record) -> int:
    """Insert a decision that nothing follows from; returns its id."""
    values = (
        record.at, record.migration, record.action, record.rule, record.by, record.sentence,
        json.dumps(dict(record.numbers)), record.flag_before, record.flag_after,
        None if record.start is None else json.dumps(dict(record.start)),
        json.dumps([call_as_data(call) for call in record.calls]), record.carried_out_at,
        record.problem,
    )  # fmt: skip
    number = database.execute(ADD_RECORD, values).lastrowid
    assert number is not None  # noqa: S101  # a row was inserted
    return number
