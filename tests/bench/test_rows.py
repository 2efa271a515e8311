"""The rows that there are, without running them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest

from bench.__main__ import all_growths, all_rows
from bench.files import Content, Files
from bench.harness import Row, Scale


@pytest.fixture(params=[True, False], ids=["quick", "whole"])
def scale(request: pytest.FixtureRequest, tmp_path: Path) -> Scale:
    return Scale(quick=request.param, files=tmp_path)


def rows_of(scale: Scale) -> list[Row]:
    return [*all_rows(scale), *(row for growth in all_growths(scale) for _, row in growth.points)]


def test_names_are_unique(scale: Scale) -> None:
    """A row is found by its name, a contender within its row as well."""
    names = [row.name for row in rows_of(scale)] + [growth.name for growth in all_growths(scale)]
    assert len(names) == len(set(names))
    for row in rows_of(scale):
        contenders = [contender.name for contender in row.contenders]
        assert len(contenders) == len(set(contenders)), row.name


def test_goals_and_references_name_those_who_take_part(scale: Scale) -> None:
    """No goal is left unmeasured because of a name."""
    for row in rows_of(scale):
        contenders = {contender.name for contender in row.contenders}
        assert row.reference in contenders, row.name
        for goal in row.goals:
            assert {goal.contender, *goal.to} <= contenders, row.name
            assert goal.at_least is not None or goal.at_most is not None, row.name


def test_every_entry_exists(scale: Scale) -> None:
    """An entry that was renamed is noticed before an hour of measuring."""
    for entry in sorted({contender.entry for row in rows_of(scale) for contender in row.contenders}):
        module, _, function = entry.partition(":")
        found: Callable[..., object] = getattr(importlib.import_module(module), function)
        assert callable(found), entry


def test_nothing_is_made_before_it_is_needed(scale: Scale) -> None:
    """Naming the rows writes no files."""
    rows_of(scale)
    assert list(scale.files.iterdir()) == []


def test_a_quick_run_measures_nothing_else(tmp_path: Path) -> None:
    """It has fewer rounds and contenders, and every row of it is a row of the whole run."""
    quick, whole = ({row.name: row for row in all_rows(Scale(quick=each, files=tmp_path))} for each in (True, False))
    assert set(quick) <= set(whole)
    for name, row in quick.items():
        assert {contender.name for contender in row.contenders} <= {c.name for c in whole[name].contenders}
        assert row.rounds <= whole[name].rounds


def test_files_are_made_as_told(tmp_path: Path) -> None:
    """Own ones differ, shared ones are one file on the disk, a hole takes no room; all have their size."""
    own, shared, hole = (
        Files(folder=tmp_path, size=size, count=3, content=content)
        for size, content in ((5000, Content.OWN), (6000, Content.SHARED), (50_000_000, Content.HOLE))
    )
    for files in (own, shared, hole):
        files.make()
        files.make()
        assert [path.stat().st_size for path in files.paths] == [files.size] * 3
    assert len({path.read_bytes() for path in own.paths}) == 3
    assert len({path.stat().st_ino for path in chain(shared.paths, hole.paths)}) == 2
    assert hole.paths[0].stat().st_blocks * 512 < 1_000_000
    assert own.tiny.stat().st_size <= 8192
