"""How the sides of a sampled call run again: on their own, on a fixed side, and linked to the call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import pytest

from migration import Migration, Runtime, Side, migrate
from migration.model import Operation, Role, Verdict
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.helpers import eventually
from tests.migration.outbox import Outbox, OutboxReplay, rehearsing
from tests.migration.shadowing import Bench

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
