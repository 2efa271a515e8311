"""Equal facts have no difference, and no changed field goes unseen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from migration import Migration, Side
from migration.model import Outcome, result_as_facts
from migration.shadow.comparing import (
    MAX_DIFFERENCES,
    MAX_SHOWN,
    differences,
    masked_fields,
    request_facts,
    shown,
)
from migration.shadow.facts import Facts, outcome_facts

MIGRATION = Migration(name="m", candidate="a:b")

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5)
keys = st.sampled_from(["a", "b", "a.b", "a[0]", "[0]", "0", 0, "", "'a'"])
results = st.recursive(
    st.sampled_from([0, 1, True, 1.0, math.nan, "", "1", b"1", None]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
flat_facts = st.dictionaries(st.text(max_size=3), scalars, max_size=6)


def facts(value: object) -> Facts:
    return outcome_facts(MIGRATION, Outcome(side=Side.LEGACY, seconds=0.0, value=value))


def same(left: Any, right: Any) -> bool:
    """What a caller would call the same: equal in value and type all the way down; NaN is NaN."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and (left == right or (left != left and right != right))  # noqa: PLR0124  # NaN


@given(results)
def test_equal_results_have_no_difference(value: object) -> None:
    """A result compared with itself is identical, whatever it holds."""
    assert differences(facts(value), facts(value)) == ()


@example({"a": 1}, {"a": True})
@example({"a.b": 1}, {"a": {"b": 1}})
@example({"a[0]": 1}, {"a": [1]})
@example({"0": 1, 0: 2}, {"0": 3, 0: 2})
@given(st.dictionaries(keys, results, max_size=3), st.dictionaries(keys, results, max_size=3))
def test_a_difference_is_found_exactly_if_there_is_one(left: dict[object, object], right: dict[object, object]) -> None:
    """No two different results are taken for the same, whatever their keys look like, nor the other way round."""
    assert (differences(facts(left), facts(right)) == ()) == same(left, right)


@given(flat_facts, st.data())
def test_any_changed_field_is_reported(before: dict[str, object], data: st.DataObject) -> None:
    """Change, add or remove one field: that field, and no other, is reported."""
    field = data.draw(st.sampled_from([*before, "added"]))
    after = {**before, field: object()}
    assert [each.field for each in differences(before, after)] == [field]
    del after[field]
    expected = [field] if field in before else []
    assert [each.field for each in differences(before, after)] == expected


@given(flat_facts, flat_facts)
def test_sides_are_symmetrical(left: dict[str, object], right: dict[str, object]) -> None:
    """Exchanging the sides exchanges the two columns and nothing else."""
    there = {each.field: (each.legacy, each.candidate) for each in differences(left, right)}
    back = {each.field: (each.candidate, each.legacy) for each in differences(right, left)}
    assert there == back


@given(flat_facts, flat_facts, st.sets(st.sampled_from(["*", "a*", "?", "0"])))
def test_masks_only_take_away(left: dict[str, object], right: dict[str, object], masks: set[str]) -> None:
    """What remains under a mask is what differed without it, less the masked fields."""
    hidden = {*masked_fields(left, masks), *masked_fields(right, masks)}
    everything = {each.field for each in differences(left, right)}
    assert {each.field for each in differences(left, right, masks)} == everything - hidden


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("requests[0].path", True),
        ("requests[*].path", True),
        ("*.path", True),
        ("requests[1].path", False),
        ("requests", False),
    ],
)
def test_masks_name_list_items(pattern: str, *, matches: bool) -> None:
    """Brackets in a mask are brackets."""
    assert bool(masked_fields({"requests[0].path": 1}, [pattern])) is matches


def test_paths_read_like_the_data() -> None:
    """Plain keys stand bare, others quoted, items by index; empty containers are a fact as well."""
    value = {"a": {"b": [1, {"c": 2}]}, "x.y": 3, 5: 4, "none": {}, "nothing": []}
    assert facts(value) == {
        "result.a.b[0]": 1,
        "result.a.b[1].c": 2,
        "result.'x.y'": 3,
        "result.5": 4,
        "result.none": {},
        "result.nothing": [],
    }
    assert request_facts([{"path": "/a"}]) == {"requests.count": 1, "requests[0].path": "/a"}


def test_errors_are_compared_by_type_text_and_kind() -> None:
    """An exception's facts are its class name, its text, and its kind in the migration's taxonomy."""
    outcome: Outcome[None] = Outcome(side=Side.CANDIDATE, seconds=0.0, error=ValueError("File not found: a.txt"))
    assert outcome_facts(MIGRATION, outcome) == {
        "error.type": "ValueError",
        "error.text": "File not found: a.txt",
        "error.kind": "bad_input",
    }


def test_reports_are_bounded() -> None:
    """However much differs, a report stays readable and small."""
    many = differences({str(number): 0 for number in range(1000)}, {})
    assert len(many) == MAX_DIFFERENCES + 1
    assert (many[-1].field, many[-1].legacy) == ("...", "more fields differ")
    long = shown("x" * 1_000_000)
    assert len(long) < MAX_SHOWN + 40
    assert "1000000 characters" in long


def test_results_that_are_no_mapping_are_one_fact() -> None:
    """A mapping's items as they are; anything else has a name to be called by."""
    assert result_as_facts({"id": 1}) == {"id": 1}
    assert result_as_facts([1]) == {"value": [1]}
