"""Sampled calls are compared after their caller was answered, without effect, bounded, and never silently lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import pytest

from migration import Call, Comparison, Migration, Operation, Role, Runtime, Shim, Side, Verdict, Witness, migrate
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.helpers import eventually, in_thread
from tests.migration.outbox import Outbox, OutboxReplay, rehearsing


@dataclass
class Bench:
    """Two sides that send to an outbox, and what is compared of them."""

    runtime: Runtime
    router: FixedRouter
    observer: RecordingObserver
    outbox: Outbox
    replay: OutboxReplay = field(default_factory=OutboxReplay)
    old: Callable[[], object] = lambda: {"id": "1"}
    new: Callable[[], object] = lambda: {"id": "1"}
    options: dict[str, Any] = field(default_factory=dict)

    def shim(self) -> Shim[[], Any]:
        async def candidate() -> object:
            self.outbox.send(path="/files")
            return await asyncio.to_thread(self.new)

        def legacy() -> object:
            self.outbox.send(path="/files")
            return self.old()

        migration = Migration(name="m", candidate=candidate, replay=self.replay, **self.options)
        return migrate(migration, runtime=self.runtime)(legacy)

    def compared(self, count: int = 1) -> list[Comparison]:
        assert eventually(lambda: len(self.observer.comparisons) >= count)
        assert self.runtime.shadows.drain(10)
        assert len(self.observer.comparisons) == count
        return self.observer.comparisons

    def verdict(self) -> Comparison:
        """Call once, whatever comes of it, and return what the comparison said."""
        with suppress(ValueError, TypeError):
            self.shim()()
        return self.compared()[0]


@pytest.fixture(params=Side)
def bench(
    request: pytest.FixtureRequest,
    runtime: Runtime,
    router: FixedRouter,
    observer: RecordingObserver,
    outbox: Outbox,
) -> Bench:
    router.serve, router.shadow = request.param, True
    return Bench(runtime, router, observer, outbox)


def failing(error: Exception) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


# Verdicts


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
        assert {each.field for each in found.differences} <= {"error.type", "error.text"}


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


# Dropped, with a reason


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
        def witness(self, call: Call) -> Any:
            if moment == "making":
                raise OSError
            return self.around(call)

        @contextmanager
        def around(self, call: Call) -> Iterator[Witness]:
            if moment == "entering":
                raise OSError
            with OutboxReplay.witness(self, call) as witness:
                yield witness
            raise OSError

    async def candidate() -> str:
        return "new"

    router.shadow = True
    f = migrate(Migration(name="m", candidate=candidate, replay=Failing()), runtime=runtime)(lambda: "old")
    assert f() == "old"
    assert eventually(lambda: len(observer.comparisons) == 1)
    assert sum(runtime.observers.failures.values()) == 1


def test_a_rehearsal_that_fails_is_dropped_with_its_reason(
    runtime: Runtime, router: FixedRouter, observer: RecordingObserver
) -> None:
    """A world that cannot be opened, and values that cannot be compared, end in a reported verdict."""

    class Incomparable:
        def __eq__(self, other: object) -> bool:
            raise ArithmeticError("no truth value")

        __hash__ = None  # type: ignore[assignment]  # not needed

    async def candidate() -> object:
        return Incomparable()

    router.shadow = True
    migration = Migration(name="m", candidate=candidate, replay=OutboxReplay())
    migrate(migration, runtime=runtime)(Incomparable)()
    assert eventually(lambda: len(observer.comparisons) == 1)
    found = observer.comparisons[0]
    assert (found.verdict, found.detail) == (
        Verdict.DROPPED,
        "the comparison failed: ArithmeticError: no truth value",
    )


@dataclass
class Gate:
    """Holds every shadow, and no primary."""

    opened: threading.Event = field(default_factory=threading.Event)
    held: list[str] = field(default_factory=list)

    def go_through(self) -> object:
        if rehearsing():
            self.held.append("shadow")
            assert self.opened.wait(20)
        return {"id": "1"}


def gated(
    router: FixedRouter, observer: RecordingObserver, **options: Any
) -> tuple[Gate, Runtime, Shim[[], object], OutboxReplay]:
    gate, replay = Gate(), OutboxReplay()
    runtime = Runtime(router=router, observers=[observer], **options)
    router.shadow = True

    async def candidate() -> object:
        return await asyncio.to_thread(gate.go_through)

    shim = migrate(Migration(name="m", candidate=candidate, replay=replay), runtime=runtime)(gate.go_through)
    return gate, runtime, shim, replay


@pytest.mark.parametrize("serve", Side)
@pytest.mark.parametrize("awaiting", [False, True])
def test_a_shadow_never_delays_its_caller(
    router: FixedRouter, observer: RecordingObserver, serve: Side, *, awaiting: bool
) -> None:
    """The caller has its answer, and can call again, while every shadow stands still."""
    gate, runtime, shim, _ = gated(router, observer)
    router.serve = serve
    for _ in range(5):
        in_thread(lambda: asyncio.run(shim.aio()) if awaiting else shim()).result(10)
    assert eventually(lambda: len(gate.held) == 2), "two at once, not more"
    assert observer.comparisons == []
    assert runtime.shadows.pending == 5
    gate.opened.set()
    runtime.close()
    assert [found.verdict for found in observer.comparisons] == [Verdict.IDENTICAL] * 5
    assert runtime.shadows.pending == 0


def test_a_full_queue_drops_and_says_so(router: FixedRouter, observer: RecordingObserver) -> None:
    """The bound holds for waiting and running ones together; room that becomes free is used again."""
    gate, runtime, shim, _ = gated(router, observer, shadow_capacity=3)
    for _ in range(10):
        shim()
    assert [found.detail for found in observer.comparisons] == ["3 shadows are already waiting"] * 7
    gate.opened.set()
    assert runtime.shadows.drain(10)
    shim()
    runtime.close()
    verdicts = [found.verdict for found in observer.comparisons]
    assert verdicts == [Verdict.DROPPED] * 7 + [Verdict.IDENTICAL] * 4


def test_a_shadow_that_takes_too_long_is_dropped(router: FixedRouter, observer: RecordingObserver) -> None:
    """Its deadline ends it, closes its world, and gives its place to the next."""
    gate, runtime, shim, replay = gated(router, observer, shadow_seconds=0.1)
    for _ in range(3):
        shim()
    assert eventually(lambda: len(observer.comparisons) == 3)
    assert {found.detail for found in observer.comparisons} == {"not finished within 0.1 s"}
    assert replay.open_worlds == 0
    gate.opened.set()
    runtime.close()


def test_closing_reports_every_shadow(router: FixedRouter, observer: RecordingObserver) -> None:
    """Those that run and those that wait are dropped with the reason; later ones as well."""
    gate, runtime, shim, _ = gated(router, observer)
    for _ in range(6):
        shim()
    assert eventually(lambda: len(gate.held) == 2)
    runtime.shadows.close(timeout=0)
    assert [found.detail for found in observer.comparisons] == ["the process is ending"] * 6
    shim()
    assert "is closed" in observer.comparisons[-1].detail
    assert runtime.shadows.pending == 0
    gate.opened.set()
    runtime.close()


# In a rehearsal


request: ContextVar[str] = ContextVar("request", default="nobody's")


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
    assert seen == ["nobody's"] * 2


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
    """What was witnessed belongs to two sides."""

    async def candidate() -> None:
        raise ConnectionRefusedError

    migration = Migration(name="m", candidate=candidate, falls_back_on=(ConnectionRefusedError,), replay=OutboxReplay())
    router.serve, router.shadow = Side.CANDIDATE, True
    migrate(migration, runtime=runtime)(lambda: None)()
    assert eventually(lambda: len(observer.comparisons) == 1)
    found = observer.comparisons[0]
    assert (found.verdict, found.detail) == (Verdict.DROPPED, "nothing was witnessed that could be replayed")
