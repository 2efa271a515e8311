"""What a declaration says of comparisons: which calls, what is excused, what is shown, and calls inside calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from migration import Comparison, DeclarationError, Migration, Runtime, Side, migrate
from migration.model import NoticeKind, Verdict
from migration.routing import Shim
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.helpers import eventually
from tests.migration.outbox import Outbox, OutboxReplay


@dataclass
class Bench:
    """A function of one argument, whose two sides differ as a test says."""

    runtime: Runtime
    router: FixedRouter
    observer: RecordingObserver
    outbox: Outbox
    old: Callable[[int], object] = lambda number: {"number": number}
    new: Callable[[int], object] = lambda number: {"number": number}
    options: dict[str, Any] = field(default_factory=dict)

    def shim(self) -> Shim[[int], object]:
        async def candidate(number: int) -> object:
            self.outbox.send(number=number)
            return self.new(number)

        def legacy(number: int) -> object:
            self.outbox.send(number=number)
            return self.old(number)

        migration = Migration(name="m", candidate=candidate, replay=OutboxReplay(), **self.options)
        return migrate(migration, runtime=self.runtime)(legacy)

    def compare(self, *numbers: int) -> list[Comparison]:
        """Call with each number and wait for what is compared."""
        shim = self.shim()
        for number in numbers:
            shim(number)
        assert self.runtime.shadows.drain(10)
        return self.observer.comparisons


@pytest.fixture(params=Side)
def bench(
    request: pytest.FixtureRequest, runtime: Runtime, router: FixedRouter, observer: RecordingObserver, outbox: Outbox
) -> Bench:
    router.serve, router.shadow = request.param, True
    return Bench(runtime, router, observer, outbox)


def notices(bench: Bench) -> list[tuple[NoticeKind, str]]:
    return [(notice.kind, notice.text) for notice in bench.observer.notices]


def failing(number: int) -> object:
    raise KeyError(number)


# run_if


def test_only_the_calls_that_may_be_compared_are(bench: Bench) -> None:
    """The others are answered, and leave no comparison: nor do they count as dropped."""
    bench.options = {"run_if": lambda number: number > 2}
    assert [found.call.call_id for found in bench.compare(1, 2, 3)] == [bench.observer.operations[-1].call.call_id]
    assert bench.outbox.delivered == [{"number": 1}, {"number": 2}, {"number": 3}]
    sampled = [done.decision.shadow for done in bench.observer.operations if done.side is None]
    assert sampled == [False, False, True]


def test_a_condition_that_raises_means_no_comparison(bench: Bench) -> None:
    """The caller notices nothing, and operators are told."""
    bench.options = {"run_if": lambda number: 1 / number > 0}
    assert len(bench.compare(0, 1)) == 1
    [(kind, text)] = notices(bench)
    assert kind is NoticeKind.DECLARATION_FAILED
    assert "`run_if` failed with ZeroDivisionError" in text


def test_a_call_that_is_not_sampled_is_not_asked_about(bench: Bench) -> None:
    """The condition costs nothing while nothing is compared."""
    asked: list[int] = []
    bench.options = {"run_if": asked.append}
    bench.router.shadow = False
    assert bench.compare(1) == []
    assert asked == []


# Attributes


def test_attributes_reach_the_comparison(bench: Bench) -> None:
    """What a call says of itself stands beside its verdict, without the call's arguments."""
    bench.options = {"attributes": lambda number: {"number": number}}
    [found] = bench.compare(7)
    assert found.call.attributes == {"number": 7}


# ignore


def test_an_excused_mismatch_stays_visible(bench: Bench) -> None:
    """Its verdict says that it was excused, its detail by which rule, and its differences are kept."""
    bench.new = lambda number: {"number": number, "extra": True}
    bench.options = {
        "ignore": {
            "never": lambda _comparison: False,
            "one more field": lambda found: [each.field for each in found.differences] == ["result.extra"],
        }
    }
    [found] = bench.compare(1)
    assert (found.verdict, found.detail) == (Verdict.IGNORED, "one more field (different)")
    assert [each.field for each in found.differences] == ["result.extra"]


def test_a_rule_excuses_only_what_it_names(bench: Bench) -> None:
    """Another difference of the same call is a mismatch as before."""
    bench.new = lambda number: {"number": number + 1, "extra": True}
    bench.options = {"ignore": {"extra": lambda found: all(each.field == "result.extra" for each in found.differences)}}
    assert [found.verdict for found in bench.compare(1)] == [Verdict.DIFFERENT]


def test_what_is_no_mismatch_is_not_excused(bench: Bench) -> None:
    """An identical call stays identical, and two failures of one kind stay the same error."""
    bench.options = {"ignore": {"all": lambda _found: True}}
    assert [found.verdict for found in bench.compare(1)] == [Verdict.IDENTICAL]
    bench.old = bench.new = failing
    with pytest.raises(KeyError):
        bench.compare(1)
    assert bench.runtime.shadows.drain(10)
    assert [found.verdict for found in bench.observer.comparisons] == [Verdict.IDENTICAL, Verdict.SAME_ERROR]


def test_a_rule_that_raises_excuses_nothing(bench: Bench) -> None:
    """The mismatch stands, the next rule is asked, and operators are told."""
    bench.new = lambda number: {"number": -number}

    def broken(found: Comparison) -> bool:
        raise LookupError(found.verdict)

    bench.options = {"ignore": {"broken": broken}}
    assert [found.verdict for found in bench.compare(1)] == [Verdict.DIFFERENT]
    [(kind, text)] = notices(bench)
    assert kind is NoticeKind.DECLARATION_FAILED
    assert "'broken'" in text
    bench.options["ignore"]["all"] = lambda _found: True
    assert [found.verdict for found in bench.compare(1)] == [Verdict.DIFFERENT, Verdict.IGNORED]


# clean


def test_values_are_shown_as_the_declaration_says(bench: Bench) -> None:
    """A report shows the cleaned value; the verdict is about the real one."""
    bench.old, bench.new = (
        (lambda _number: {"address": "a@example.org"}),
        (lambda _number: {"address": "b@example.org"}),
    )
    bench.options = {"clean": lambda name, value: "***" if name == "result.address" else value}
    [found] = bench.compare(1)
    [difference] = found.differences
    assert found.verdict is Verdict.DIFFERENT
    assert (difference.legacy, difference.candidate) == ("'***'", "'***'")
    assert "example.org" not in repr(found)


def test_a_cleaner_that_fails_shows_nothing(bench: Bench) -> None:
    """Rather no value than one that should not be seen."""
    bench.new = lambda number: {"number": "SECRET"}  # noqa: ARG005  # the other side uses it
    bench.options = {"clean": lambda _name, value: value.nothing}
    [found] = bench.compare(1)
    assert found.differences[0].candidate == "(not shown: cleaning it failed with AttributeError)"
    assert "SECRET" not in repr(found)


# masks


def test_a_mask_that_names_nothing_is_seen(bench: Bench) -> None:
    """Each comparison says which masks named a field and which did not."""
    bench.options = {"masked": ("*.number", "result.nmuber")}
    bench.new = lambda number: {"number": -number}
    [found] = bench.compare(1)
    assert found.verdict is Verdict.IDENTICAL
    assert found.masked == ("result.number", "requests[0].number")
    assert found.unused_masks == ("result.nmuber",)


@pytest.mark.parametrize("mask", ["*", "**", "?*", ""])
def test_a_mask_that_covers_everything_is_refused(mask: str) -> None:
    """Or every comparison would be identical."""
    with pytest.raises(DeclarationError, match="covers everything"):
        Migration(name="m", candidate="a:b", masked=(mask,))


# Calls inside calls


@dataclass
class Nested:
    """A migrated function inside another one; each side of both sends something of its own."""

    outer: Shim[[], list[str]]
    inner: Shim[[], str]


def nested(bench: Bench, *, inner_name: str, inner_new: str = "inner") -> Nested:
    outbox, runtime = bench.outbox, bench.runtime

    async def new_inner() -> str:
        outbox.send(path="/inner")
        return inner_new

    def old_inner() -> str:
        outbox.send(path="/inner")
        return "inner"

    async def new_outer() -> list[str]:
        outbox.send(path="/outer")
        return [await inner.aio()]

    def old_outer() -> list[str]:
        outbox.send(path="/outer")
        return [inner()]

    inner = migrate(Migration(name=inner_name, candidate=new_inner, replay=OutboxReplay()), runtime=runtime)(old_inner)
    outer = migrate(Migration(name="outer", candidate=new_outer, replay=OutboxReplay()), runtime=runtime)(old_outer)
    return Nested(outer, inner)


@pytest.mark.parametrize("awaiting", [False, True])
@pytest.mark.parametrize(("inner_name", "compared"), [("inner", ["inner", "outer"]), ("outer", ["outer"])])
def test_calls_inside_calls_are_compared_each_by_itself(
    bench: Bench, inner_name: str, compared: list[str], *, awaiting: bool
) -> None:
    """Another migration inside is compared as well; the same one belongs to the call around it.

    No comparison begets another, and nothing is sent twice.
    """
    functions = nested(bench, inner_name=inner_name)
    assert (asyncio.run(functions.outer.aio()) if awaiting else functions.outer()) == ["inner"]
    assert eventually(lambda: len(bench.observer.comparisons) == len(compared))
    assert bench.runtime.shadows.drain(10)
    assert sorted(found.call.migration for found in bench.observer.comparisons) == compared
    assert {found.verdict for found in bench.observer.comparisons} == {Verdict.IDENTICAL}
    assert bench.outbox.delivered == [{"path": "/outer"}, {"path": "/inner"}]


def test_a_defect_inside_is_seen_inside_and_around(bench: Bench) -> None:
    """While the outer call is compared its inner one runs on the side that is rehearsed, so both show the defect."""
    nested(bench, inner_name="inner", inner_new="wrong").outer()
    assert bench.runtime.shadows.drain(10)
    found = {each.call.migration: each for each in bench.observer.comparisons}
    assert {each.verdict for each in found.values()} == {Verdict.DIFFERENT}
    assert [each.field for each in found["inner"].differences] == ["result.value"]
    assert [each.field for each in found["outer"].differences] == ["result.value[0]"]
