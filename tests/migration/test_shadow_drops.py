"""A sampled call that is not compared is counted, with the reason."""

from __future__ import annotations

import io
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from migration import Call, Migration, Runtime, migrate
from migration.model import ReplayRecording, Verdict
from migration.shadow.facts import Flattening, flatten
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.helpers import eventually
from tests.migration.outbox import OutboxReplay
from tests.migration.shadowing import Bench


def test_a_refused_call_is_dropped(bench: Bench) -> None:
    """The replay's own reason is the comparison's detail."""
    bench.replay.refusal = "a request was never answered"
    found = bench.verdict()
    assert (found.verdict, found.detail) == (Verdict.DROPPED, "a request was never answered")


def test_without_a_replay_nothing_runs(bench: Bench) -> None:
    """A migration that cannot be rehearsed is counted and its other side is never run."""
    bench.options = {}
    runs: list[str] = []

    async def candidate() -> None:
        runs.append("new")

    f = migrate(Migration(name="m", candidate=candidate), runtime=bench.runtime)(lambda: runs.append("old"))
    f()
    assert bench.compared()[0].verdict is Verdict.DROPPED
    assert len(runs) == 1


def test_a_side_that_does_not_repeat_itself_is_no_verdict(bench: Bench) -> None:
    """If the side that served answers differently in the rehearsal, comparing it with the other means nothing."""
    numbers = iter(range(10))
    bench.old = bench.new = lambda: {"number": next(numbers)}
    found = bench.verdict()
    assert found.verdict is Verdict.DROPPED
    assert found.detail == f"{bench.router.serve} did not do the same again: result.number"


@pytest.mark.parametrize("moment", ["making", "entering", "exiting"])
def test_a_replay_that_fails_costs_the_comparison_only(
    runtime: Runtime, router: FixedRouter, observer: RecordingObserver, moment: str
) -> None:
    """Whenever it raises: the caller has its answer, and the sampled call is counted."""

    class Failing(OutboxReplay):
        def record(self, call: Call) -> Any:
            if moment == "making":
                raise OSError
            return self.around(call)

        @contextmanager
        def around(self, call: Call) -> Iterator[ReplayRecording]:
            if moment == "entering":
                raise OSError
            with OutboxReplay.record(self, call) as recording:
                yield recording
            raise OSError

    async def candidate() -> str:
        return "new"

    router.shadow = True
    f = migrate(Migration(name="m", candidate=candidate, replay=Failing()), runtime=runtime)(lambda: "old")
    assert f() == "old"
    assert eventually(lambda: len(observer.comparisons) == 1)
    assert sum(runtime.observers.failures.values()) == 1


class Receipt:
    """Compared by identity, as most objects are."""


class Raising:
    """Compared with an error."""

    def __eq__(self, other: object) -> bool:
        raise ArithmeticError("no truth value")

    __hash__ = None  # type: ignore[assignment]  # not needed


class Array:
    """Compared member by member, as arrays are."""

    def __eq__(self, other: object) -> Any:
        return [True, True, True]

    __hash__ = None  # type: ignore[assignment]  # not needed


INCOMPARABLE: dict[str, tuple[Callable[[], Any], str]] = {
    "object": (Receipt, "result.value (Receipt) equals only itself"),
    "sentinel": (object, "result.value (object) equals only itself"),
    "stream": (lambda: io.BytesIO(b"abc"), "result.value (BytesIO) equals only itself"),
    "generator": (lambda: (n for n in range(3)), "result.value (generator) equals only itself"),
    "iterator": (lambda: iter([1, 2]), "result.value (list_iterator) equals only itself"),
    "array": (Array, "result.value (Array) has more than one answer when it is compared"),
    "raising": (Raising, "result.value (Raising) fails with ArithmeticError when it is compared"),
    "deep": (lambda: {"rows": [{"made": Receipt()}]}, "result.rows[0].made (Receipt) equals only itself"),
    "set": (lambda: {Receipt()}, "result.value (frozenset) equals only itself"),
}


@pytest.mark.parametrize("kind", INCOMPARABLE)
def test_what_cannot_be_compared_is_said_to_be_so(bench: Bench, kind: str) -> None:
    """The reason names the field, its type and the remedy, and blames neither side; a caller's stream is untouched."""
    make, reason = INCOMPARABLE[kind]
    bench.old = bench.new = make
    answer = bench.shim()()
    if kind in {"generator", "iterator"}:
        assert list(answer) == list(make())
    [found] = bench.compared()
    assert (found.verdict, found.detail) == (
        Verdict.DROPPED,
        f"{reason}; declare `facts=` that say what of the result has to be the same",
    )


@pytest.mark.parametrize("options", [{"masked": ("result.made",)}, {"facts": lambda made: {"id": made["id"]}}])
def test_the_remedies_help(bench: Bench, options: dict[str, Any]) -> None:
    """Declared facts, or a mask, leave what can be compared."""
    bench.options = options
    bench.old = bench.new = lambda: {"id": 1, "made": Receipt()}
    assert bench.verdict().verdict is Verdict.IDENTICAL


def test_the_same_object_on_both_sides_is_the_same(bench: Bench) -> None:
    """What is compared by identity can be identical; another class, function or member is another value."""
    one = Receipt()
    bench.old = bench.new = lambda: [one, Receipt, len, Verdict.DROPPED]
    assert bench.verdict().verdict is Verdict.IDENTICAL
    bench.old, bench.new = lambda: Verdict.DROPPED, lambda: Verdict.STALE_INPUT
    bench.shim()()
    assert bench.compared(2)[-1].verdict is Verdict.DIFFERENT


ROWS = 5000


def rows() -> list[dict[str, object]]:
    return [{"id": number, "name": "x"} for number in range(ROWS // 2 - 10)]


def test_a_large_result_is_compared_in_full(bench: Bench) -> None:
    """What is left for later is taken apart as well."""
    bench.old = bench.new = rows
    assert bench.verdict().verdict is Verdict.IDENTICAL


@pytest.mark.parametrize("change", [lambda answer: answer.append(1), lambda answer: answer[-1].update(id="changed")])
def test_a_large_result_that_its_caller_changes_blames_no_side(
    bench: Bench, change: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason says that the caller may have changed it, and what helps."""
    monkeypatch.setattr(Flattening.begin, "__defaults__", (0.0, time.perf_counter))
    bench.old = bench.new = rows
    changed = threading.Event()
    finish = Flattening.finished
    monkeypatch.setattr(Flattening, "finished", lambda self: (changed.wait(10), finish(self))[1])
    change(bench.shim()())
    changed.set()
    [found] = bench.compared()
    assert found.verdict is Verdict.DROPPED
    assert found.detail.startswith("the result takes more than 1 ms to be taken apart (declare `facts=` that say what")
    assert "may have changed it since, or " in found.detail


def test_a_caller_waits_a_millisecond_for_its_result_to_be_taken_apart() -> None:
    """By the clock that it is given, and whatever it is made of; what takes long at once is left for later."""
    for value in (rows(), bytearray(10**6), set(range(5000)), {"a": {"b": bytearray(10**6)}}):
        ticks = itertools.count()
        began = Flattening("result", value)
        began.begin(now=lambda ticks=ticks: next(ticks) * 0.0001)  # type: ignore[misc]  # mypy knows no default of a lambda here
        assert began.late
        assert next(ticks) <= 13
        assert began.finished() == flatten("result", value)
    small = Flattening("result", {"id": 1})
    small.begin()
    assert not small.late
