"""A sampled call that is not compared is counted, with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from migration import Call, Migration, Runtime, migrate
from migration.model import ReplayRecording, Verdict
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
