"""What both sides of a sampled call did is compared, and the verdict is right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from migration import Migration, Runtime, Side, migrate
from migration.model import Operation, Role, Verdict
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.helpers import eventually
from tests.migration.outbox import Outbox, OutboxReplay, rehearsing
from tests.migration.shadowing import Bench, failing


def test_both_did_the_same(bench: Bench) -> None:
    """Equal results and equal requests are identical, whichever side served; only the primary had an effect."""
    found = bench.verdict()
    assert (found.verdict, found.differences, found.detail) == (Verdict.IDENTICAL, (), "")
    assert bench.outbox.delivered == [{"path": "/files"}]
    assert found.primary_seconds is not None
    assert found.shadow_seconds is not None


def test_a_difference_is_shown_by_field(bench: Bench) -> None:
    """Legacy's value stands on legacy's side also when the candidate served."""
    bench.old = lambda: {"id": "1", "size": 3, "name": "a"}
    bench.new = lambda: {"id": "1", "size": 4, "kind": "b"}
    found = bench.verdict()
    assert found.verdict is Verdict.DIFFERENT
    assert [(each.field, each.legacy, each.candidate) for each in found.differences] == [
        ("result.size", "3", "4"),
        ("result.name", "'a'", "(absent)"),
        ("result.kind", "(absent)", "'b'"),
    ]


def test_what_was_sent_is_compared_too(bench: Bench) -> None:
    """Equal results by different requests are different."""

    def chatty() -> object:
        bench.outbox.send(path="/probe")
        return {"id": "1"}

    bench.new = chatty
    found = bench.verdict()
    assert found.verdict is Verdict.DIFFERENT
    assert [(each.field, each.legacy, each.candidate) for each in found.differences] == [
        ("requests.count", "1", "2"),
        ("requests[1].path", "(absent)", "'/probe'"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        (None, ValueError("a"), Verdict.CANDIDATE_ERROR),
        (ValueError("a"), None, Verdict.LEGACY_ERROR),
        (ValueError("a"), ValueError("a"), Verdict.SAME_ERROR),
        (ValueError("a"), ValueError("b"), Verdict.DIFFERENT),
        (ValueError("a"), TypeError("a"), Verdict.DIFFERENT),
    ],
)
def test_errors(bench: Bench, old: Exception | None, new: Exception | None, verdict: Verdict) -> None:
    """Which side failed is said; two failures are the same only with the same type and text."""
    bench.old = failing(old) if old else bench.old
    bench.new = failing(new) if new else bench.new
    found = bench.verdict()
    assert found.verdict is verdict
    if verdict is Verdict.DIFFERENT:
        assert {each.field for each in found.differences} <= {"error.type", "error.text", "error.kind"}


def test_a_candidate_that_cannot_be_imported_is_a_candidate_error(
    runtime: Runtime, router: FixedRouter, observer: RecordingObserver
) -> None:
    """A shadow finds a broken module before any caller does."""
    router.shadow = True
    migration = Migration(name="m", candidate="no.such:thing", replay=OutboxReplay())
    migrate(migration, runtime=runtime)(lambda: 1)()
    assert eventually(lambda: len(observer.comparisons) == 1)
    assert observer.comparisons[0].verdict is Verdict.CANDIDATE_ERROR


def test_masked_fields_are_reported_and_not_compared(bench: Bench) -> None:
    """A mask excludes a field by its path, list indexes included, and the comparison says that it did."""
    bench.options = {"masked": ("result.items[*].at", "result.trace")}
    bench.old = lambda: {"trace": "x", "items": [{"at": 1, "id": 1}, {"at": 2, "id": 2}]}
    bench.new = lambda: {"trace": "y", "items": [{"at": 3, "id": 1}, {"at": 4, "id": 9}]}
    found = bench.verdict()
    assert [each.field for each in found.differences] == ["result.items[1].id"]
    assert set(found.masked) == {"result.trace", "result.items[0].at", "result.items[1].at"}


def test_contents_never_appear(bench: Bench) -> None:
    """Of bytes there are length and digest; of objects of unknown types only their type."""

    class Document:
        def __init__(self, text: str) -> None:
            self.text = text

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Document) and self.text == other.text

        __hash__ = None  # type: ignore[assignment]  # it can change

        def __repr__(self) -> str:
            return f"Document({self.text!r})"

    def result(word: str) -> dict[str, object]:
        raw = word.encode()
        return {
            "bytes": raw,
            "array": bytearray(raw),
            "view": memoryview(raw),
            "set": {raw},
            "object": Document(word),
            "nested": [{"deep": raw}],
        }

    bench.old, bench.new = lambda: result("SECRET-ONE"), lambda: result("SECRET-TWO")
    found = bench.verdict()
    assert found.verdict is Verdict.DIFFERENT
    assert len(found.differences) == 6
    assert "SECRET" not in repr(found)
    shown = {each.field: each.legacy for each in found.differences}
    assert shown["result.bytes"].startswith("10 bytes, sha256 ")
    assert shown["result.object"] == "(a Document)"


def test_a_result_that_the_caller_changes_is_compared_as_it_was_returned(bench: Bench) -> None:
    """What is compared is taken before the caller has its result."""

    def result() -> dict[str, Any]:
        return {"id": "1", "tags": {"a"}, "raw": bytearray(b"x"), "nested": {"list": [1]}}

    bench.old = bench.new = result
    answer = bench.shim()()
    answer["id"] = "changed"
    answer["tags"].add("b")
    answer["raw"][0] = 0
    answer["nested"]["list"].append(2)
    assert [found.verdict for found in bench.compared()] == [Verdict.IDENTICAL]


def test_an_input_that_changed_is_no_difference(bench: Bench) -> None:
    """Before the rehearsal, and while it runs: the verdict is stale input."""
    changes = iter([True, False, True])
    bench.replay.stale = lambda: next(changes)
    bench.shim()()
    bench.compared(1)
    bench.shim()()
    verdicts = [(found.verdict, found.detail) for found in bench.compared(2)]
    assert verdicts == [
        (Verdict.STALE_INPUT, "the input changed after the call"),
        (Verdict.STALE_INPUT, "the input changed during the comparison"),
    ]


# How the sides of a sampled call run again: on their own, on a fixed side, and linked to the call.

request: ContextVar[str] = ContextVar("request", default="no caller's")


def test_a_shadow_belongs_to_no_caller(bench: Bench) -> None:
    """Context variables of the caller (a span, a deadline, a transaction) do not reach its shadow."""
    seen: list[str] = []

    def note() -> object:
        if rehearsing():
            seen.append(request.get())
        return {"id": "1"}

    bench.old = bench.new = note
    token = request.set("the caller's")
    assert bench.verdict().verdict is Verdict.IDENTICAL
    request.reset(token)
    assert seen == ["no caller's"] * 2


@pytest.mark.parametrize("serve", Side)
def test_nested_calls_in_a_shadow_are_pinned_and_not_decided(
    runtime: Runtime, router: FixedRouter, observer: RecordingObserver, outbox: Outbox, serve: Side
) -> None:
    """A side under rehearsal stays on its side throughout, whatever migration it calls, and shadows nothing itself."""
    replay = OutboxReplay()
    ran: list[str] = []

    def inner_old() -> str:
        ran.append("old")
        outbox.send(path="/inner")
        return "same"

    async def inner_new() -> str:
        ran.append("new")
        outbox.send(path="/inner")
        return "same"

    inner = migrate(Migration(name="inner", candidate=inner_new, replay=replay), runtime=runtime)(inner_old)

    def outer_old() -> str:
        return inner()

    async def outer_new() -> str:
        return await inner.aio()

    outer = migrate(Migration(name="outer", candidate=outer_new, replay=replay), runtime=runtime)(outer_old)
    router.serve, router.shadow = serve, True
    assert outer() == "same"
    assert eventually(lambda: len(observer.comparisons) == 2)
    assert {found.verdict for found in observer.comparisons} == {Verdict.IDENTICAL}
    assert router.asked == 2, "outer and inner primary"
    assert len(outbox.delivered) == 1
    served, other = ("old", "new") if serve is Side.LEGACY else ("new", "old")
    assert sorted(ran) == sorted([served] * 3 + [other] * 2), "the primary, and both sides of both comparisons"


def test_runs_of_a_shadow_are_linked_to_their_primary(
    router: FixedRouter, outbox: Outbox, observer: RecordingObserver
) -> None:
    """Observers see both rehearsals as shadows, linked to the trace that the primary run was given."""

    class Tracing(RecordingObserver):
        @contextmanager
        def operation(self, operation: Operation) -> Iterator[None]:
            operation.trace = f"trace-{operation.role}-{operation.side}"
            with RecordingObserver.operation(self, operation):
                yield

    tracing = Tracing()
    runtime = Runtime(router=router, observers=[tracing])
    bench = Bench(runtime, router, tracing, outbox)
    router.shadow = True
    found = bench.verdict()
    runtime.close()
    shadows = [done for done in tracing.operations if done.role is Role.SHADOW]
    assert [done.side for done in shadows] == [Side.LEGACY, Side.CANDIDATE]
    assert {done.link for done in shadows} == {"trace-primary-legacy"}
    assert (found.primary_trace, found.shadow_trace) == ("trace-primary-legacy", "trace-shadow-candidate")
    assert observer.operations == []


def test_a_call_that_fell_back_is_not_compared(
    runtime: Runtime, router: FixedRouter, observer: RecordingObserver
) -> None:
    """What was recorded belongs to two sides."""

    async def candidate() -> None:
        raise ConnectionRefusedError

    migration = Migration(name="m", candidate=candidate, falls_back_on=(ConnectionRefusedError,), replay=OutboxReplay())
    router.serve, router.shadow = Side.CANDIDATE, True
    migrate(migration, runtime=runtime)(lambda: None)()
    assert eventually(lambda: len(observer.comparisons) == 1)
    found = observer.comparisons[0]
    assert (found.verdict, found.detail) == (Verdict.DROPPED, "nothing was recorded that could be replayed")
