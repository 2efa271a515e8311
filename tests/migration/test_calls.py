"""Every kind of caller is served by the side that was decided, as by the legacy function alone."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from migration import AlwaysLegacy, Migration, Reason, Runtime, Side, migrate, use_runtime
from migration.model import NoticeKind
from migration.routing import Shim, current_runtime
from migration.testing import FixedRouter, RecordingObserver

Served = tuple[str, int, str]

MIGRATION = Migration(name="m", candidate=f"{__name__}:new")


def old(x: int, *, y: str = "") -> Served:
    return ("old", x, y)


async def new(x: int, *, y: str = "") -> Served:
    await asyncio.sleep(0)
    return ("new", x, y)


@pytest.fixture
def f(runtime: Runtime) -> Shim[..., Served]:
    return migrate(Migration(name="m", candidate=new), runtime=runtime)(old)


@pytest.mark.parametrize(("side", "name"), [(Side.LEGACY, "old"), (Side.CANDIDATE, "new")])
def test_a_plain_caller_gets_the_decided_side(
    f: Shim[..., Served], router: FixedRouter, observer: RecordingObserver, side: Side, name: str
) -> None:
    """A synchronous caller gets the answer of the side that serves, with its arguments, and observers see that side."""
    router.serve = side
    assert f(1, y="a") == (name, 1, "a")
    assert observer.served() == [side]


def test_flipping_takes_effect_at_the_next_call(
    f: Shim[..., Served], router: FixedRouter, observer: RecordingObserver
) -> None:
    """A flip there and back routes the very next calls, without anything being rebuilt."""
    for side in (Side.LEGACY, Side.CANDIDATE, Side.LEGACY):
        router.serve = side
        f(1)
    assert observer.served() == [Side.LEGACY, Side.CANDIDATE, Side.LEGACY]


def test_legacy_stays_on_the_callers_thread(runtime: Runtime, router: FixedRouter) -> None:
    """Legacy runs where its caller runs: thread-local state is what it always was."""

    async def elsewhere() -> int:
        return threading.get_ident()

    where = migrate(Migration(name="m", candidate=elsewhere), runtime=runtime)(threading.get_ident)
    assert where() == threading.get_ident()
    router.serve = Side.CANDIDATE
    assert where() != threading.get_ident()


@pytest.mark.parametrize("side", Side)
async def test_a_synchronous_call_inside_a_running_loop_works_and_is_reported_once_a_site(
    f: Shim[..., Served], router: FixedRouter, observer: RecordingObserver, side: Side
) -> None:
    """A call that blocks a loop is served as ever; each place that does it is named once, by file and line."""
    router.serve = side
    answers = [f(number)[1] for number in range(3)]
    here = f"{__file__}:{inspect.currentframe().f_lineno - 1}"  # type: ignore[union-attr]  # CPython has frames
    assert answers == [0, 1, 2]
    assert [notice.kind for notice in observer.notices] == [NoticeKind.BLOCKED_EVENT_LOOP]
    assert here in observer.notices[0].text
    f(3)
    assert len(observer.notices) == 2


async def test_a_call_in_a_worker_thread_of_a_loop_blocks_nobody_and_is_not_reported(
    f: Shim[..., Served], router: FixedRouter, observer: RecordingObserver
) -> None:
    """`asyncio.to_thread(f)` is how careful callers did it before; it is served and not complained about."""
    router.serve = Side.CANDIDATE
    assert await asyncio.to_thread(f, 7) == ("new", 7, "")
    assert observer.notices == []


async def test_more_worker_threads_than_processors_all_get_served(f: Shim[..., Served], router: FixedRouter) -> None:
    """A caller's loop whose whole thread pool waits for candidates still makes progress."""
    router.serve = Side.CANDIDATE
    answers = await asyncio.gather(*(asyncio.to_thread(f, number) for number in range(100)))
    assert [answer[1] for answer in answers] == list(range(100))


def test_two_hundred_threads_at_once(runtime: Runtime, router: FixedRouter, observer: RecordingObserver) -> None:
    """200 threads that call at the same moment, the loop not yet started, each get their own answer from one loop."""
    together = threading.Barrier(200)
    loops: set[int] = set()

    async def candidate(x: int) -> int:
        loops.add(id(asyncio.get_running_loop()))
        await asyncio.sleep(0.01)
        return x

    def legacy(x: int) -> int:
        raise AssertionError(x)

    f = migrate(Migration(name="m", candidate=candidate), runtime=runtime)(legacy)
    router.serve = Side.CANDIDATE

    def call(number: int) -> int:
        together.wait(30)
        return f(number)

    with ThreadPoolExecutor(200) as threads:
        assert list(threads.map(call, range(200))) == list(range(200))
    assert observer.served() == [Side.CANDIDATE] * 200
    assert len(loops) == 1


@pytest.mark.parametrize("side", Side)
def test_aio_from_several_loops_at_once(f: Shim[..., Served], router: FixedRouter, side: Side) -> None:
    """Loops of several threads await the same shim at the same time."""
    router.serve = side

    async def calls() -> list[int]:
        return [answer[1] for answer in await asyncio.gather(*(f.aio(number) for number in range(20)))]

    with ThreadPoolExecutor(8) as threads:
        for answers in threads.map(lambda _: asyncio.run(calls()), range(8)):
            assert answers == list(range(20))


@pytest.mark.parametrize("side", Side)
def test_one_short_loop_after_another(f: Shim[..., Served], router: FixedRouter, side: Side) -> None:
    """`asyncio.run` again and again: nothing is bound to the first loop."""
    router.serve = side
    assert [asyncio.run(f.aio(number))[1] for number in range(10)] == list(range(10))


@pytest.mark.parametrize("side", Side)
async def test_aio_leaves_the_callers_loop_free(runtime: Runtime, router: FixedRouter, side: Side) -> None:
    """While an awaited call is in flight, other tasks of the caller's loop run: here one of them ends the call."""
    release = threading.Event()

    def legacy() -> str:
        assert release.wait(10)
        return "done"

    async def candidate() -> str:
        assert await asyncio.to_thread(release.wait, 10)
        return "done"

    f = migrate(Migration(name="m", candidate=candidate), runtime=runtime)(legacy)
    router.serve = side
    call = asyncio.create_task(f.aio())
    await asyncio.sleep(0)
    assert not call.done()
    release.set()
    assert await call == "done"


request: ContextVar[str] = ContextVar("request")


def test_the_callers_context_reaches_both_sides(runtime: Runtime, router: FixedRouter) -> None:
    """Context variables of the caller (a trace, a request id) are seen by legacy and by the candidate."""

    def legacy() -> str:
        return request.get()

    async def candidate() -> str:
        return await asyncio.to_thread(request.get)

    f = migrate(Migration(name="m", candidate=candidate), runtime=runtime)(legacy)
    for number, side in enumerate(Side):
        router.serve = side
        request.set(f"request {number}")
        assert f() == f"request {number}"

        async def awaited() -> str:
            return await f.aio()

        assert asyncio.run(awaited()) == f"request {number}"


def test_calls_are_described_by_their_caller_and_declared_attributes(
    runtime: Runtime, observer: RecordingObserver
) -> None:
    """Observers learn who called and what the declaration shows of the arguments, never the arguments themselves."""
    migration = Migration(name="m", candidate=new, attributes=lambda x, **_: {"x": x})
    f = migrate(migration, runtime=runtime)(old)
    f(5, y="secret")
    asyncio.run(f.aio(6, y="secret"))
    calls = [done.call for done in observer.operations if done.side is None]
    name = test_calls_are_described_by_their_caller_and_declared_attributes.__name__
    assert [call.site.function for call in calls] == [name, name]
    assert {call.site.file for call in calls} == {__file__}
    assert [call.attributes for call in calls] == [{"x": 5}, {"x": 6}]
    assert len({call.call_id for call in calls}) == 2
    assert "secret" not in repr(observer.operations)


def test_an_unconfigured_process_is_served_by_legacy() -> None:
    """Who configures nothing gets legacy, and the decision says why."""
    observer = RecordingObserver()
    f = migrate(MIGRATION, runtime=Runtime(observers=[observer]))(old)
    assert f(1) == ("old", 1, "")
    decision = observer.operations[-1].decision
    assert decision == AlwaysLegacy().decide(observer.operations[-1].call)
    assert (decision.reason, decision.source) == (Reason.DEFAULT, "unconfigured")


def test_use_runtime_replaces_and_closes_the_one_before() -> None:
    """A shim without a runtime of its own follows the process's; a replaced runtime takes no more work."""
    first = use_runtime(Runtime(router=FixedRouter(serve=Side.LEGACY)))
    f = migrate(Migration(name="m", candidate=new))(old)
    assert f(1)[0] == "old"
    second = use_runtime(Runtime(router=FixedRouter(serve=Side.CANDIDATE)))
    assert current_runtime() is second
    assert first.loop.closed
    assert f(1)[0] == "new"
    use_runtime(Runtime())
    assert second.loop.closed
    assert f(1)[0] == "old"


def test_a_closed_runtime_serves_legacy_and_says_why(
    f: Shim[..., Served], runtime: Runtime, router: FixedRouter, observer: RecordingObserver
) -> None:
    """Calls after the end are served by legacy without asking anybody."""
    router.serve = Side.CANDIDATE
    runtime.close()
    assert f(1) == ("old", 1, "")
    assert router.asked == 0
    decision = observer.operations[-1].decision
    assert (decision.serve, decision.reason, decision.source) == (Side.LEGACY, Reason.DISABLED, "shutdown")


def test_generators_of_units_are_given(observer: RecordingObserver) -> None:
    """Who configures the runtime chooses how call ids are made."""
    make: Callable[[], str] = iter(["first", "second"]).__next__
    f = migrate(MIGRATION, runtime=Runtime(observers=[observer], new_call_id=make))(old)
    f(1)
    f(2)
    assert [done.call.call_id for done in observer.operations if done.side is None] == ["first", "second"]
