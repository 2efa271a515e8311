"""What legacy and candidate may be: functions that block, coroutine functions, and what their callers expect."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from migration import DeclarationError, Migration, ReadOnly, Runtime, Side, migrate
from migration.model import NoticeKind, Verdict
from migration.testing import FixedRouter, RecordingObserver

REQUEST: ContextVar[str] = ContextVar("request", default="none")


async def new(x: int) -> tuple[str, int]:
    return "new", x


def new_that_blocks(x: int) -> tuple[str, int]:
    return "new", x


# An asynchronous legacy


@pytest.mark.parametrize("candidate", [new, new_that_blocks])
def test_an_asynchronous_legacy_is_routed(
    runtime: Runtime, router: FixedRouter, observer: RecordingObserver, candidate: Callable[[int], Any]
) -> None:
    """Its callers await it as before, on their own loop; `.aio` is the same."""
    threads = []

    async def upload(x: int) -> tuple[str, int]:
        threads.append(threading.get_ident())
        return "old", x

    shim: Any = migrate(Migration(name="m", candidate=candidate), runtime=runtime)(upload)
    assert asyncio.run(shim(1)) == ("old", 1)
    assert asyncio.run(shim.aio(2)) == ("old", 2)
    assert threads == [threading.get_ident()] * 2
    router.serve = Side.CANDIDATE
    assert asyncio.run(shim(3)) == ("new", 3)
    assert asyncio.run(shim.aio(4)) == ("new", 4)
    assert observer.served() == [Side.LEGACY, Side.LEGACY, Side.CANDIDATE, Side.CANDIDATE]


async def test_an_asynchronous_legacy_raises_and_is_cancelled_as_before(
    runtime: Runtime, observer: RecordingObserver
) -> None:
    """The very exception passes through; a cancellation reaches the running function."""
    error, ended = ValueError("refused"), asyncio.Event()

    async def upload(x: int) -> None:
        if x:
            raise error
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    shim = migrate(Migration(name="m", candidate=new), runtime=runtime)(upload)
    with pytest.raises(ValueError, match="refused") as raised:
        await shim(1)
    assert raised.value is error
    task = asyncio.create_task(shim(0))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert len(observer.operations) == 4


@pytest.mark.parametrize(("more", "verdict"), [(1, Verdict.IDENTICAL), (2, Verdict.DIFFERENT)])
@pytest.mark.parametrize("side", Side)
def test_an_asynchronous_legacy_is_compared(
    runtime: Runtime, router: FixedRouter, observer: RecordingObserver, side: Side, *, more: int, verdict: Verdict
) -> None:
    """Its shadow runs on the loop of its call or, once that has ended, on one of its own."""

    async def upload(x: int) -> int:
        time.sleep(0.01)  # noqa: ASYNC251  # as much asynchronous legacy does
        return x + 1

    async def candidate(x: int) -> int:
        return x + more

    router.serve, router.shadow = side, True
    shim = migrate(Migration(name="m", candidate=candidate, replay=ReadOnly()), runtime=runtime)(upload)
    asyncio.run(shim(1))
    assert runtime.shadows.drain(10)
    assert [comparison.verdict for comparison in observer.comparisons] == [verdict]


async def test_the_place_of_an_awaited_call_is_where_it_is_written(
    runtime: Runtime, observer: RecordingObserver
) -> None:
    """Also when a task or a group of tasks awaits it."""

    async def upload(x: int) -> int:
        return x

    shim = migrate(Migration(name="m", candidate=new), runtime=runtime)(upload)
    await asyncio.gather(shim(1), asyncio.create_task(shim.aio(2)))
    await shim(3)
    assert {operation.call.site.file for operation in observer.operations} == {__file__}


# A candidate that blocks


def test_a_candidate_that_blocks_runs_where_legacy_runs(runtime: Runtime, router: FixedRouter) -> None:
    """On the thread of a caller that blocks; in a worker for a caller that awaits."""

    def candidate() -> int:
        return threading.get_ident()

    @migrate(Migration(name="m", candidate=candidate), runtime=runtime)
    def where() -> int:
        raise AssertionError

    router.serve = Side.CANDIDATE
    assert where() == threading.get_ident()

    async def awaiting() -> tuple[int, int]:
        return await where.aio(), threading.get_ident()

    assert len(set(asyncio.run(awaiting()))) == 2


def test_a_candidate_that_blocks_and_calls_what_it_replaces_means_legacy(runtime: Runtime, router: FixedRouter) -> None:
    """It does not call itself for ever."""

    def candidate(x: int) -> str:
        return f"new around {price(x)}"

    @migrate(Migration(name="m", candidate=candidate), runtime=runtime)
    def price(x: int) -> str:
        return f"old {x}"

    router.serve = Side.CANDIDATE
    assert price(1) == "new around old 1"


# What cannot be stood in for, or is known only after a call


def lines(n: int) -> Iterator[int]:
    yield from range(n)


async def stream(n: int) -> AsyncIterator[int]:
    yield n


@pytest.mark.parametrize("function", [lines, stream])
def test_what_yields_its_values_one_by_one_is_refused(function: Callable[..., Any]) -> None:
    """With a sentence that says what to do."""
    with pytest.raises(DeclarationError, match="in front of a function that returns them together"):
        migrate(Migration(name="m", candidate=new))(function)


def test_a_function_whose_result_is_awaited_is_an_asynchronous_one(runtime: Runtime, router: FixedRouter) -> None:
    """Known by its annotation, or by legacy's first result inside a loop, which legacy serves until then."""
    router.serve = Side.CANDIDATE

    async def inner(x: int) -> tuple[str, int]:
        return "old", x

    def annotated(x: int) -> Coroutine[Any, Any, tuple[str, int]]:
        return inner(x)

    def bare(x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  # as much legacy is
        return inner(x)

    known = migrate(Migration(name="m", candidate=new), runtime=runtime)(annotated)
    learned = migrate(Migration(name="m", candidate=new), runtime=runtime)(bare)

    async def awaiting() -> list[object]:
        return [await known(1), await learned(2), await learned(3)]

    assert asyncio.run(awaiting()) == [("new", 1), ("old", 2), ("new", 3)]


def test_a_function_that_returns_a_future_stays_legacys(
    runtime: Runtime, router: FixedRouter, observer: RecordingObserver
) -> None:
    """Its callers may do more with it than await it; that is said once."""
    router.serve = Side.CANDIDATE

    def bare(x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  # as above
        future = asyncio.get_running_loop().create_future()
        future.set_result(x)
        return future

    shim = migrate(Migration(name="m", candidate=new), runtime=runtime)(bare)

    async def awaiting() -> list[int]:
        return [await shim(1), await shim(2)]

    assert asyncio.run(awaiting()) == [1, 2]
    assert [notice.kind for notice in observer.notices] == [NoticeKind.DECLARATION_FAILED]
    assert "legacy serves all calls" in observer.notices[0].text


# Context variables


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("way", ["called", "awaited", "awaited legacy", "blocking candidate"])
def test_context_variables_come_back(runtime: Runtime, router: FixedRouter, side: Side, way: str) -> None:
    """What a side sets is set for its caller, whichever thread or task it ran in."""

    def blocking(x: int) -> int:
        REQUEST.set(f"upload-{x}")
        return x

    async def awaited(x: int) -> int:
        REQUEST.set(f"upload-{x}")
        return x

    router.serve = side
    migration = Migration(name="m", candidate=blocking if way == "blocking candidate" else awaited)
    shim: Any = migrate(migration, runtime=runtime)(awaited if way == "awaited legacy" else blocking)

    async def caller() -> str:
        await (shim(7) if way == "awaited legacy" else shim.aio(7))
        return REQUEST.get()

    if way == "called":
        token = REQUEST.set("before")
        shim(7)
        assert REQUEST.get() == "upload-7"
        REQUEST.reset(token)
    else:
        assert asyncio.run(caller()) == "upload-7"


# Exceptions


@pytest.mark.parametrize("awaiting", [False, True])
@pytest.mark.parametrize("side", Side)
def test_the_chain_of_contexts_is_that_of_a_plain_call(
    runtime: Runtime, router: FixedRouter, *, side: Side, awaiting: bool
) -> None:
    """What a side was handling when it raised, and then what its caller was handling."""

    def fail() -> None:
        try:
            raise ConnectionResetError  # noqa: TRY301  # as a library does
        except ConnectionResetError:
            raise ValueError  # noqa: B904  # what is tested

    async def fail_too() -> None:
        fail()

    shim = migrate(Migration(name="m", candidate=fail_too), runtime=runtime)(fail)

    async def awaited() -> None:
        try:
            raise KeyError  # noqa: TRY301  # as above
        except KeyError:
            await shim.aio()

    def called() -> None:
        try:
            raise KeyError  # noqa: TRY301  # as above
        except KeyError:
            shim()

    router.serve = side
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # it has no text
        asyncio.run(awaited()) if awaiting else called()
    chain: list[type] = []
    error: BaseException | None = raised.value
    while error is not None:
        chain.append(type(error))
        error = error.__context__
    assert chain == [ValueError, ConnectionResetError, KeyError]


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    """Nothing of it can be set in the ordinary way."""

    code: int = 7


@pytest.mark.parametrize("awaiting", [False, True])
@pytest.mark.parametrize("side", Side)
def test_a_frozen_exception_reaches_the_caller(
    runtime: Runtime, router: FixedRouter, *, side: Side, awaiting: bool
) -> None:
    """Not what comes of setting its context."""

    def fail() -> None:
        try:
            raise ConnectionResetError  # noqa: TRY301  # as a library does
        except ConnectionResetError:
            raise FrozenError  # noqa: B904  # as above

    shim = migrate(Migration(name="m", candidate=lambda: fail()), runtime=runtime)(fail)  # noqa: PLW0108  # another function
    router.serve = side
    with pytest.raises(FrozenError) as raised:
        asyncio.run(shim.aio()) if awaiting else shim()
    assert isinstance(raised.value.__context__, ConnectionResetError)


@pytest.mark.parametrize("side", Side)
def test_a_stop_iteration_ends_an_awaited_call(runtime: Runtime, router: FixedRouter, side: Side) -> None:
    """A future of a thread cannot hold one; its caller gets what a coroutine that raises one makes of it."""

    def fail() -> str:
        return next(iter(()))

    shim = migrate(Migration(name="m", candidate=lambda: fail()), runtime=runtime)(fail)  # noqa: PLW0108  # another function
    router.serve = side

    async def main() -> None:
        async with asyncio.timeout(5):
            await shim.aio()

    with pytest.raises(RuntimeError, match="raised StopIteration"):
        asyncio.run(main())


def test_an_exception_raised_again_and_again_keeps_its_chain_short(runtime: Runtime, router: FixedRouter) -> None:
    """One exception object that a candidate raises in every call does not collect its callers' exceptions for ever."""
    error = ValueError()
    error.__context__ = OSError()

    async def fail() -> None:
        raise error

    shim = migrate(Migration(name="m", candidate=fail), runtime=runtime)(lambda: None)
    router.serve = Side.CANDIDATE
    for _ in range(100):
        try:
            raise KeyError  # noqa: TRY301  # as above
        except KeyError:
            with pytest.raises(ValueError, match=r"^$"):
                shim()
    length = 0
    each: BaseException | None = error.__context__
    while each is not None:
        length, each = length + 1, each.__context__
    assert length <= 20


# Depth of recursion


def depth_reached(function: Callable[[int], int]) -> int:
    """How deep it recurses, in steps of ten."""
    reached = 0
    for n in range(10, 1000, 10):
        try:
            function(n)
        except RecursionError:
            break
        reached = n
    return reached


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="3.12 bounds calls of objects by a limit of its own")
def test_a_recursive_legacy_goes_as_deep_as_before(runtime: Runtime) -> None:
    """The frame that the shim adds to each level is made up for; the interpreter's limit is afterwards what it was."""

    def bare(n: int) -> int:
        return 0 if n == 0 else 1 + bare(n - 1)

    def legacy(n: int) -> int:
        return 0 if n == 0 else 1 + shim(n - 1)

    shim = migrate(Migration(name="m", candidate="a:b"), runtime=runtime)(legacy)
    limit = sys.getrecursionlimit()
    assert depth_reached(shim) >= depth_reached(bare) - 50
    assert sys.getrecursionlimit() == limit


def test_a_limit_that_legacy_sets_stays(runtime: Runtime) -> None:
    """Also when it does so within nested calls, for which the limit was raised."""
    limit = sys.getrecursionlimit()

    def legacy(n: int) -> None:
        if n:
            shim(n - 1)
        else:
            sys.setrecursionlimit(limit + 77)

    shim = migrate(Migration(name="m", candidate="a:b"), runtime=runtime)(legacy)
    try:
        shim(45)
        assert sys.getrecursionlimit() == limit + 77
    finally:
        sys.setrecursionlimit(limit)


def test_a_recursion_without_an_end_is_still_cut_off(runtime: Runtime) -> None:
    """By the interpreter's own error, and the limit is afterwards what it was."""

    def legacy(n: int) -> int:
        return shim(n + 1)

    shim = migrate(Migration(name="m", candidate="a:b"), runtime=runtime)(legacy)
    limit = sys.getrecursionlimit()
    with pytest.raises(RecursionError):
        shim(0)
    assert sys.getrecursionlimit() == limit


def test_a_call_with_no_room_for_a_decision_is_legacys(runtime: Runtime, router: FixedRouter) -> None:
    """Close to the end of the stack a plain call still works, and so does one behind a migration."""
    shim = migrate(Migration(name="m", candidate=new), runtime=runtime)(lambda x: x)
    router.serve = Side.LEGACY

    def descend(n: int) -> int:
        return shim(n) if n == 0 else descend(n - 1)

    deepest = depth_reached(descend)
    answers = []
    for n in range(deepest, deepest + 10):
        try:
            answers.append(descend(n))
        except RecursionError:
            break
    assert answers
    assert set(answers) == {0}


def test_one_frame_stands_between_caller_and_legacy(runtime: Runtime) -> None:
    """A traceback, and whoever walks the stack, finds the shim once."""

    @migrate(Migration(name="m", candidate="a:b"), runtime=runtime)
    def legacy() -> str:
        here = sys._getframe()  # what is tested
        assert here.f_back is not None
        assert here.f_back.f_back is not None
        return here.f_back.f_back.f_code.co_name

    assert legacy() == "test_one_frame_stands_between_caller_and_legacy"
