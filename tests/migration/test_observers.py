"""Nothing that observers or declared functions do can hurt a call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import pytest

from migration import Comparison, Migration, Runtime, Side, migrate
from migration.model import Notice, Operation
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.raising import NothingSentError, caught, raising


class Hostile:
    """Raises at the chosen moment."""

    def __init__(self, moment: str) -> None:
        self.moment = moment

    def trip(self, moment: str) -> None:
        if moment == self.moment:
            raise RuntimeError(moment)

    def operation(self, operation: Operation) -> AbstractContextManager[object]:
        self.trip("making")
        return self.around(operation)

    @contextmanager
    def around(self, operation: Operation) -> Iterator[None]:
        self.trip("entering")
        try:
            yield
        finally:
            assert operation.outcome is not None
            self.trip("exiting")

    def compared(self, comparison: Comparison) -> None:
        self.trip(f"compared {comparison.verdict}")

    def noticed(self, notice: Notice) -> None:
        self.trip(f"noticed {notice.kind}")


@pytest.mark.parametrize("awaiting", [False, True])
@pytest.mark.parametrize("moment", ["making", "entering", "exiting", "compared dropped", "noticed fell_back"])
def test_observers_that_raise_never_hurt_the_call(
    router: FixedRouter, observer: RecordingObserver, moment: str, *, awaiting: bool
) -> None:
    """In whatever hook: values and exceptions are what they were, other observers see all, the failure is counted."""
    hostile = Hostile(moment)
    runtime = Runtime(router=router, observers=[observer, hostile])
    _, candidate = raising(NothingSentError())
    error = ValueError("legacy's own")
    legacy, _ = raising(error)
    migration = Migration(name="m", candidate=candidate, falls_back_on=(NothingSentError,))
    good, bad = migrate(migration, runtime=runtime)(lambda: "old"), migrate(migration, runtime=runtime)(legacy)
    router.serve, router.shadow = Side.CANDIDATE, True
    assert (asyncio.run(good.aio()) if awaiting else good()) == "old"
    assert caught(lambda: asyncio.run(bad.aio()) if awaiting else bad()) is error
    runtime.close()
    assert observer.served() == [Side.LEGACY, Side.LEGACY]
    assert len(observer.comparisons) == 2
    assert len(observer.notices) == 2
    assert sum(runtime.observers.failures.values()) >= 2
    assert set(runtime.observers.failures) == {"Hostile: RuntimeError"}


def test_an_observer_cannot_swallow_an_exception(runtime: Runtime) -> None:
    """A manager that returns True changes nothing for the caller."""

    class Swallowing(RecordingObserver):
        @contextmanager
        def operation(self, operation: Operation) -> Iterator[None]:  # noqa: ARG002  # swallows whatever it is
            with suppress(BaseException):
                yield

    def interrupted() -> None:
        raise KeyboardInterrupt

    f = migrate(Migration(name="m", candidate="a:b"), runtime=Runtime(observers=[Swallowing()]))(interrupted)
    with pytest.raises(KeyboardInterrupt):
        f()
    runtime.close()


@pytest.mark.parametrize("declared", ["attributes", "facts"])
def test_declared_functions_that_raise_never_hurt_the_call(
    runtime: Runtime, router: FixedRouter, observer: RecordingObserver, declared: str
) -> None:
    """A declaration's own mistakes cost attributes or a comparison, and both are told."""

    def wrong(*_args: object, **_kwargs: object) -> Any:
        raise ZeroDivisionError

    migration = Migration(name="m", candidate="a:b", **{declared: wrong})  # type: ignore[arg-type]  # one of two
    f = migrate(migration, runtime=runtime)(lambda: "old")
    router.shadow = True
    assert f() == "old"
    runtime.close()
    assert len(observer.comparisons) == 1
    if declared == "facts":
        assert "ZeroDivisionError" in observer.comparisons[0].detail
    else:
        assert runtime.observers.failures == {"Migration: ZeroDivisionError": 1}
