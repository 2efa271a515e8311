"""Folding loses nothing: what is in the ledger afterwards is the same."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from migration.store.ledger_writer import ADD_NOTICE, COUNT_RUN, REMEMBER_DECISION, Write, folded
from migration.store.shim_db import make_tables

NAMES = st.sampled_from(["a", "b"])
RUNS = st.tuples(
    NAMES,
    st.sampled_from(["legacy", "candidate"]),
    st.just("primary"),
    st.sampled_from(["ok", "OSError"]),
    st.just(1),
    st.integers(0, 1000).map(lambda number: number / 8),  # exact in binary, so that the order of a sum is no matter
    st.integers(0, 2**50),
    st.integers(1, 10**6).map(float),
)
DECISIONS = st.tuples(NAMES, st.floats(1, 10**6), st.sampled_from(["legacy", "candidate"]), st.booleans()).map(
    lambda decided: (*decided, 0.5, 0.5, "split", "file", "v1", None)
)
NOTICES = st.tuples(st.floats(1, 10**6), st.just("fell_back"), NAMES, st.text("xyz"))
WRITES = st.lists(
    st.one_of(
        RUNS.map(lambda values: (COUNT_RUN, values)),
        DECISIONS.map(lambda values: (REMEMBER_DECISION, values)),
        NOTICES.map(lambda values: (ADD_NOTICE, values)),
    ),
    max_size=40,
)


def written(writes: list[Write]) -> dict[str, list[Any]]:
    """What stands in a ledger after these, but for when a count was last raised."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    make_tables(database, Path("shim.db"))
    for statement, values in writes:
        database.execute(statement, values)
    return {
        "runs": database.execute(
            "SELECT migration, side, result, calls, seconds, bytes FROM runs ORDER BY 1, 2, 3"
        ).fetchall(),
        "decisions": database.execute("SELECT * FROM decisions ORDER BY 1").fetchall(),
        "notices": database.execute("SELECT * FROM notices ORDER BY id").fetchall(),
    }


@given(WRITES)
def test_folded_records_say_the_same(writes: list[Write]) -> None:
    """Counts are added up, a migration's last decision stays, everything else is kept as it came."""
    assert written(folded(writes)) == written(writes)


@given(WRITES)
def test_folded_records_are_few(writes: list[Write]) -> None:
    """One statement a kind of run and one a migration, however many records there are."""
    kinds = [write for write in folded(writes) if write[0] is not ADD_NOTICE]
    assert len(kinds) <= 2 * 2 * 2 + 2


def test_what_sqlite_cannot_hold_is_not_added_to_anything() -> None:
    """Such a record fails alone, so it is left alone."""
    small, huge = (
        ("a", "legacy", "primary", "ok", 1, 0.5, 10, 1.0),
        ("a", "legacy", "primary", "ok", 1, 0.5, 2**70, 2.0),
    )
    assert folded([(COUNT_RUN, small), (COUNT_RUN, huge), (COUNT_RUN, small)]) == [
        (COUNT_RUN, ("a", "legacy", "primary", "ok", 2, 1.0, 20, 1.0)),
        (COUNT_RUN, huge),
    ]
