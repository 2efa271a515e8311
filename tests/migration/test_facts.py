"""Results are taken apart exactly, whatever they are made of, and only so far."""

from __future__ import annotations

import time
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration import Migration, Side
from migration.model import IncompleteFactsError, Outcome, Verdict
from migration.shadow.comparing import differences, judged, shown
from migration.shadow.facts import INCOMPLETE, MAX_DEPTH, MAX_FIELDS, flatten

MIGRATION = Migration(name="m", candidate="a:b")


class Colour(Enum):
    RED = "red"


class Word(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Size:
    bytes: int
    note: str = field(default="", compare=False)


@dataclass
class OtherSize:
    bytes: int


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str
    size: Any = 0


Pair = namedtuple("Pair", ["a", "b"])  # noqa: PYI024  # the untyped kind is a kind of result as well


def fields_of_difference(left: object, right: object) -> list[str]:
    return [each.field for each in differences(flatten("result", left), flatten("result", right))]


EXACT: list[tuple[object, object]] = [
    (1, True),
    (1, 1.0),
    (0.0, -0.0),
    ("red", Word.RED),
    (Colour.RED, Word.RED),
    (b"a", bytearray(b"a")),
    (bytearray(b"a"), bytearray(b"b")),
    (bytearray(b"a"), memoryview(b"a")),
    ([1], (1,)),
    ([], ()),
    ([1], deque([1])),
    ({}, OrderedDict()),
    ({1}, frozenset({1})),
    ({1}, {True}),
    ({(1, 2)}, {(1, 2.0)}),
    (Pair(1, 2), (1, 2)),
    (Size(1), OtherSize(1)),
    (Size(1), {"bytes": 1}),
    (Model(name="a"), Model(name="b")),
    (Model(name="a", size=1), Model(name="a", size=True)),
    (Model(name="a"), Model(name="a", extra=1)),
    (Decimal("1.0"), Decimal("1.00")),
    (datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1)),  # noqa: DTZ001  # the point
    (datetime(2020, 1, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, 2, tzinfo=timezone(timedelta(hours=1)))),
    (PurePosixPath("a"), "a"),
    (UUID(int=1), UUID(int=2)),
    (ValueError("a"), ValueError("b")),
    (ValueError("a"), TypeError("a")),
    ({1: "a"}, {"1": "a"}),
    ({1: "a"}, {1.0: "a"}),
    (None, 0),
]


@pytest.mark.parametrize(("left", "right"), EXACT, ids=lambda value: type(value).__name__)
def test_what_only_looks_alike_is_different(left: object, right: object) -> None:
    """Types count, all the way down, also where Python calls the values equal."""
    assert fields_of_difference(left, right) != []
    assert fields_of_difference([{"deep": left}], [{"deep": right}]) != []


@pytest.mark.parametrize("value", [value for pair in EXACT for value in pair], ids=lambda value: type(value).__name__)
def test_a_value_is_itself(value: object) -> None:
    """Taken apart twice it is the same."""
    assert fields_of_difference(value, value) == []


def test_equal_values_that_are_other_objects_are_the_same() -> None:
    """Two runs make two objects: dataclasses, models, exceptions, NaN."""

    def result() -> list[object]:
        return [
            Size(1, "x"),
            Model(name="a", size=[1]),
            ValueError("a"),
            float("nan"),
            {float("nan")},
            Decimal("NaN"),
            {b"k": {1, 2}},
        ]

    assert fields_of_difference(result(), result()) == []
    assert fields_of_difference(Size(1, "x"), Size(1, "y")) == []  # its author does not compare the note


def test_fields_are_named_as_they_are_declared() -> None:
    """A reader finds the place in the code."""
    assert flatten("result", {"size": Size(3), "pair": Pair(1, [2]), "model": Model(name="a")}) == {
        "result.size.(type)": f"{__name__}.Size",
        "result.size.bytes": 3,
        "result.pair.(type)": f"{__name__}.Pair",
        "result.pair[0]": 1,
        "result.pair[1][0]": 2,
        "result.model.(type)": f"{__name__}.Model",
        "result.model.name": "a",
        "result.model.size": 0,
    }


def test_keys_cannot_hide_each_other_nor_show_contents() -> None:
    """Two keys that read the same are two fields; long ones are cut; bytes are a digest, strangers a type."""

    class Key:
        pass

    found = flatten("r", {Key(): 1, Key(): 2, "x" * 1000: 3, b"SECRET": 4, (1, "a"): 5, Colour.RED: 6})
    assert list(found.values()) == [1, 2, 3, 4, 5, 6]
    assert list(found)[:2] == ["r.(a test_keys_cannot_hide_each_other_nor_show_contents.<locals>.Key)", list(found)[1]]
    assert list(found)[1].endswith("Key)#2")
    assert max(map(len, found)) < 150
    assert "SECRET" not in repr(found)


@given(st.integers(2, 50), st.integers(2, 50))
def test_a_structure_that_contains_itself_ends(depth: int, other: int) -> None:
    """And two of them are the same exactly if they turn back at the same place."""

    def ring(length: int) -> dict[str, Any]:
        first: dict[str, Any] = {}
        last = first
        for _ in range(length % 10):
            last["next"] = {}
            last = last["next"]
        last["next"] = first
        return first

    same = depth % 10 == other % 10
    assert (fields_of_difference(ring(depth), ring(other)) == []) is same


# Bounds


def deep(levels: int, end: object = 0) -> object:
    value = end
    for _ in range(levels):
        value = [value]
    return value


LARGE: dict[str, Callable[[int], object]] = {
    "wide": lambda extra: list(range(MAX_FIELDS - 1 + extra)),
    "deep": lambda extra: deep(MAX_DEPTH - 1 + extra),
    "set": lambda extra: set(range(MAX_FIELDS - 1 + extra)),
}


@pytest.mark.parametrize("shape", LARGE)
def test_the_bounds_are_where_they_are_said_to_be(shape: str) -> None:
    """What fits is complete; one more is not."""
    assert INCOMPLETE not in flatten("r", LARGE[shape](1))
    assert INCOMPLETE in flatten("r", LARGE[shape](2))


def test_a_huge_result_costs_no_more_than_a_large_one() -> None:
    """A structure that doubles with each level, and an endless one, end at the bound."""
    doubling: list[Any] = []
    for _ in range(MAX_DEPTH - 2):
        doubling = [doubling, doubling]

    class Endless(dict[str, int]):
        def items(self) -> Any:
            return (("key", number) for number in iter(int, 1))

    for value in (doubling, Endless()):
        found = flatten("r", value)
        assert len(found) <= MAX_FIELDS + 1
        assert INCOMPLETE in found


def test_large_is_linear(say: Callable[[str], None]) -> None:
    """Ten times the fields cost about ten times as much, not a hundred times."""

    def seconds(count: int) -> float:
        value = {f"key {number}": number for number in range(count)}
        start = time.process_time()
        for _ in range(10_000 // count):
            flatten("r", value)
        return time.process_time() - start

    seconds(1000)
    ratio = seconds(10_000) / seconds(1000)
    say(f"10,000 fields in one result cost {ratio:.2f} times as much as in ten results")
    assert ratio < 10


def outcome(side: Side, value: object) -> Outcome[Any]:
    return Outcome(side=side, seconds=0.0, value=value)


def judge(legacy: object, candidate: object) -> Verdict:
    verdict = judged(MIGRATION, (outcome(Side.LEGACY, legacy), []), (outcome(Side.CANDIDATE, candidate), []))["verdict"]
    assert isinstance(verdict, Verdict)
    return verdict


@pytest.mark.parametrize("shape", LARGE)
def test_what_was_not_compared_in_full_is_never_identical(shape: str) -> None:
    """A difference within the bound is one; none within it proves nothing."""
    large = LARGE[shape](10)
    with pytest.raises(IncompleteFactsError, match="facts="):
        judge(large, LARGE[shape](10))
    assert judge(large, [1]) is Verdict.DIFFERENT
    assert judge([1], large) is Verdict.DIFFERENT
    assert judge([0, large], [1, large]) is Verdict.DIFFERENT


def test_values_are_shown_short() -> None:
    """However long they are, and whatever they are."""
    assert shown(1 << 100_000) == "(a number of 100001 bits)"
    assert len(shown("x" * 10**7)) < 300
    assert shown({1}) == "(a set)"
    assert shown(flatten("r", bytearray(b"abc"))["r"]).startswith("3 bytes, sha256 ba7816bf")
    ring: list[Any] = []
    ring.append(ring)
    assert shown(flatten("r", ring)["r[0]"]) == "(the same as r)"
