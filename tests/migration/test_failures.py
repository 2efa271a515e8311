"""Whatever fails, the caller gets what legacy would have given, or the very exception of the side that served."""

from __future__ import annotations

import asyncio
import gc
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from migration import (
    Call,
    Decision,
    Migration,
    Reason,
    Runtime,
    Side,
    migrate,
)
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.helpers import eventually
from tests.migration.raising import caught, raising


@pytest.mark.parametrize("awaiting", [False, True])
@pytest.mark.parametrize("side", Side)
def test_exceptions_reach_the_caller_untouched(
    runtime: Runtime, router: FixedRouter, side: Side, *, awaiting: bool
) -> None:
    """The same object: type, text, cause and notes as raised, and a traceback that holds the line that raised it."""
    cause = OSError("disk")
    error = ValueError("File not found: a.txt")
    error.__cause__ = cause
    error.add_note("a note")
    legacy, candidate = raising(error)
    f = migrate(Migration(name="m", candidate=candidate), runtime=runtime)(legacy)
    router.serve = side
    found = caught(lambda: asyncio.run(f.aio()) if awaiting else f())
    assert found is error
    assert str(found) == "File not found: a.txt"
    assert found.__cause__ is cause
    assert found.__notes__ == ["a note"]
    last = traceback.extract_tb(found.__traceback__)[-1]
    assert (last.filename, last.name, last.line) == (raising.__code__.co_filename, side.value, "raise error")


def test_an_exception_inside_an_except_block_keeps_its_context(runtime: Runtime) -> None:
    """What the caller was handling is the exception's context, as without a shim."""
    legacy, candidate = raising(KeyError("second"))
    f = migrate(Migration(name="m", candidate=candidate), runtime=runtime)(legacy)
    first = ValueError("first")

    def call() -> None:
        try:
            raise first
        except ValueError:
            f()

    assert caught(call).__context__ is first


class Big:
    """Takes the place of a file's contents in a local variable."""


def traced() -> tuple[Callable[[], str], Callable[[], Any], list[weakref.ref[Big]]]:
    alive: list[weakref.ref[Big]] = []

    def legacy() -> str:
        big = Big()
        alive.append(weakref.ref(big))
        raise ValueError

    async def candidate() -> str:
        return legacy()

    return legacy, candidate, alive


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("side", Side)
def test_a_handled_exception_keeps_no_locals_alive(runtime: Runtime, router: FixedRouter, side: Side) -> None:
    """When the caller has handled it, the raising function's locals are freed at once, not at the next collection."""
    legacy, candidate, alive = traced()
    f = migrate(Migration(name="m", candidate=candidate), runtime=Runtime(router=router))(legacy)
    router.serve = side
    with pytest.raises(ValueError, match=r"^$"):
        f()
    assert eventually(lambda: alive[0]() is None, 2)
    runtime.close()


@pytest.mark.usefixtures("no_collector")
async def test_an_awaited_candidates_exception_keeps_no_locals_alive(router: FixedRouter) -> None:
    """Likewise for callers that await."""
    legacy, candidate, alive = traced()
    runtime = Runtime(router=router)
    f = migrate(Migration(name="m", candidate=candidate), runtime=runtime)(legacy)
    router.serve = Side.CANDIDATE
    with pytest.raises(ValueError, match=r"^$"):
        await f.aio()
    for _ in range(100):
        await asyncio.sleep(0.005)
        if alive[0]() is None:
            break
    assert alive[0]() is None
    await asyncio.to_thread(runtime.close)


class Raising:
    def decide(self, call: Call) -> Decision:
        raise LookupError(call.migration)


class Nonsense:
    def decide(self, call: Call) -> Decision:  # noqa: ARG002  # the same for every call
        return True  # type: ignore[return-value]  # the mistake that is tested


@pytest.mark.parametrize(("router", "error"), [(Raising(), "LookupError"), (Nonsense(), "TypeError")])
def test_a_broken_router_means_legacy_and_no_shadow(
    observer: RecordingObserver, router: Raising | Nonsense, error: str
) -> None:
    """The decision shows the reason and the kind of error."""
    f = migrate(Migration(name="m", candidate="a:b"), runtime=Runtime(router=router, observers=[observer]))(lambda: 1)
    assert f() == 1
    decision = observer.operations[-1].decision
    assert (decision.serve, decision.shadow) == (Side.LEGACY, False)
    assert (decision.reason, decision.source, decision.error) == (Reason.ERROR, type(router).__name__, error)
