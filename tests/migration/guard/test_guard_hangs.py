"""Calls that do not end, and decisions that hold at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from migration import Call, Decision, Migration, Reason, Runtime, Side, migrate
from migration.guard import Action, CallTally, Guard, GuardStore, Policy, Signal
from migration.guard import watching as module
from migration.model import Operation
from tests.migration.guard.switching import ShareRouter, calls_until, work
from tests.migration.helpers import eventually


@dataclass
class Clock:
    """A clock that is set by hand."""

    reading: float = 1000.0

    def __call__(self) -> float:
        """Read it."""
        return self.reading


@dataclass
class Sides:
    """Decides as told, with the same probability for all."""

    serve: Side = Side.CANDIDATE

    def decide(self, call: Call) -> Decision:
        """As told."""
        del call
        return Decision(serve=self.serve, probability=0.5, reason=Reason.SPLIT)


@dataclass
class Stuck:
    """A migrated function of which both sides hang until they are let go."""

    guard: Guard
    go_on: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Put the function behind the guard."""

        async def candidate() -> None:
            await asyncio.to_thread(self.go_on.wait, 20.0)

        @migrate(Migration(name="m", candidate=candidate), runtime=Runtime(router=self.guard, observers=[self.guard]))
        def legacy() -> None:
            self.go_on.wait(20.0)

        self.function = legacy

    def call(self) -> threading.Thread:
        """Call it and do not wait."""
        thread = threading.Thread(target=self.function, daemon=True)
        thread.start()
        return thread


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextmanager
def stuck(path: Path, router: Sides, clock: Clock) -> Iterator[Stuck]:
    guard = Guard(router, store=GuardStore(path / "shim.db"), hang_seconds=60.0, clock=clock)
    stuck = Stuck(guard)
    try:
        yield stuck
    finally:
        stuck.go_on.set()
        guard.close()


@pytest.mark.parametrize("side", Side)
def test_a_call_that_hangs_counts_while_it_hangs_and_once(tmp_path: Path, clock: Clock, side: Side) -> None:
    """After the deadline a run is a timeout, of either side; when it ends after all, that is no second one."""
    store = GuardStore(tmp_path / "shim.db")
    with stuck(tmp_path, Sides(side), clock) as hanging:
        thread = hanging.call()
        assert eventually(lambda: len(hanging.guard._in_flight) == 1)
        hanging.guard.look_for_hangs()
        assert len(hanging.guard._in_flight) == 1, "not before its time"
        clock.reading += 61
        assert eventually(lambda: len(store.calls_after(0, migration="m", epoch=0)) == 1)
        hanging.go_on.set()
        thread.join(10)
    [stored] = store.calls_after(0, migration="m", epoch=0)
    assert stored.call.signals >= {Signal.ERROR, Signal.TIMEOUT}
    assert (stored.call.on_candidate, stored.call.seconds) == (side is Side.CANDIDATE, 60.0)


def test_hanging_calls_roll_back_before_any_of_them_ends(tmp_path: Path, clock: Clock) -> None:
    """A candidate of which every call hangs is rolled back while all of its calls are still in flight."""
    with stuck(tmp_path, Sides(), clock) as hanging:
        for number in range(12):
            hanging.call()
            assert eventually(lambda: len(hanging.guard._in_flight) == number + 1)  # noqa: B023  # used at once
        clock.reading += 61
        assert eventually(lambda: "m" in hanging.guard.tripped)
        assert not hanging.go_on.is_set()


async def test_callers_who_do_not_wait_any_longer_roll_back(tmp_path: Path) -> None:
    """A candidate that hangs is found although no caller waits for its end."""
    router = ShareRouter(0.0)
    guard = Guard(router, store=GuardStore(tmp_path / "shim.db"))

    async def candidate() -> None:
        await asyncio.sleep(60)

    @migrate(Migration(name="m", candidate=candidate), runtime=Runtime(router=guard, observers=[guard]))
    def legacy() -> None:
        """Nothing to do."""

    for _ in range(120):
        await legacy.aio()
    router.share = 0.5
    for _ in range(100):
        with suppress(TimeoutError):
            await asyncio.wait_for(legacy.aio(), 0.2)
        if guard.tripped:
            break
    assert guard.tripped == {"m"}
    guard.close()


def test_a_result_that_cannot_be_taken_apart_is_no_hang(tmp_path: Path, clock: Clock) -> None:
    """What a call has made is for the audit; if that cannot be told, the call is judged all the same, and once."""

    def unknown(operation: Operation) -> list[dict[str, str]]:
        raise KeyError(operation.call.migration)

    guard = Guard(ShareRouter(1.0), store=GuardStore(tmp_path / "shim.db"), made=unknown, clock=clock)
    call = work(guard)
    for _ in range(3):
        call()
    clock.reading += 1000
    guard.look_for_hangs()
    assert guard._judge("m").rates.errors[1] == CallTally(calls=3)
    guard.close()


def test_calls_in_flight_are_bounded(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound a run is judged when it ends, as if hangs were not looked for."""
    monkeypatch.setattr(module, "MAX_IN_FLIGHT", 2)
    with stuck(tmp_path, Sides(), clock) as hanging:
        threads = [hanging.call() for _ in range(4)]
        assert eventually(lambda: len(hanging.guard._in_flight) == 2)
        hanging.go_on.set()
        for thread in threads:
            thread.join(10)
        assert len(hanging.guard._in_flight) == 0
        assert hanging.guard._judge("m").rates.errors[1].calls == 4


def test_the_very_next_decision_is_legacys(tmp_path: Path, say: Callable[[str], None]) -> None:
    """Between the event that decides and the trip there is no call of the same process that goes to the candidate."""
    tripped_after: list[float] = []
    for number in range(5):
        guard = Guard(ShareRouter(0.5), store=GuardStore(tmp_path / f"{number}.db"))
        began = [0.0]
        judged = guard._finished

        def timed(*arguments: object, judged: object = judged, began: list[float] = began) -> None:
            began[0] = time.perf_counter()
            judged(*arguments)  # type: ignore[operator]  # the guard's own method

        guard._finished = timed  # type: ignore[method-assign,assignment]  # to measure it
        trip = guard.trip

        def watched_trip(migration: str, *, trip: object = trip, began: list[float] = began) -> None:
            trip(migration)  # type: ignore[operator]  # as above
            tripped_after.append(time.perf_counter() - began[0])

        guard.trip = watched_trip  # type: ignore[method-assign]  # as above
        call = work(guard, candidate_fails=0.9)
        calls_until(lambda: guard.tripped, call)  # noqa: B023  # used at once
        assert all(call() for _ in range(200)), "the candidate, which fails, serves nothing any more"
        guard.close()
    say(f"0 of 1000 later calls were misrouted; from event to trip {1e6 * sorted(tripped_after)[2]:.0f} µs (median)")


def test_clocks_that_jump_do_not_stop_the_guard(tmp_path: Path) -> None:
    """A wall clock that goes back by a day neither delays a change of flags nor a look at the memory."""

    class Gauge:
        def __init__(self) -> None:
            self.bytes = 10**8

        def used(self) -> int:
            return self.bytes

        def limit(self) -> int:
            return 10**9

    class OnceAway:
        def __init__(self) -> None:
            self.tried = 0

        def turn_off(self, migration: str, *, because: str) -> str | None:
            del migration, because
            self.tried += 1
            if self.tried == 1:
                raise ConnectionError
            return "v2"

        def compare_more(self, migration: str, *, percent: int, because: str) -> None:
            """Nothing to do."""

    wall, clock, gauge, switch = Clock(1e9), Clock(0.0), Gauge(), OnceAway()
    guard = Guard(
        ShareRouter(0.5),
        store=GuardStore(tmp_path / "shim.db"),
        switch=switch,
        gauge=gauge,
        policy=Policy(memory_cap=Action.ROLLBACK),
        now=wall,
        clock=clock,
    )
    call = work(guard)
    call()
    wall.reading -= 86_400
    clock.reading += 2
    gauge.bytes = 9 * 10**8
    call()
    assert guard.tripped == {"m"}
    assert eventually(lambda: switch.tried == 1)
    clock.reading += 1
    assert eventually(lambda: switch.tried == 2)
    guard.close()
    [record] = GuardStore(tmp_path / "shim.db").records()
    assert "858 MiB" in record.sentence


def test_the_guard_costs_a_call_little(tmp_path: Path, say: Callable[[str], None]) -> None:
    """Measured as a ratio, with and without it in turns in one run."""
    router = ShareRouter(0.1)
    guard = Guard(router, store=GuardStore(tmp_path / "shim.db"))

    async def candidate() -> None:
        """Nothing to do."""

    def behind(runtime: Runtime) -> Callable[[], None]:
        @migrate(Migration(name="m", candidate=candidate), runtime=runtime)
        def legacy() -> None:
            """Nothing to do."""

        return legacy

    plain, guarded = behind(Runtime(router=router)), behind(Runtime(router=guard, observers=[guard]))
    seconds: dict[str, list[float]] = {"without": [], "with": []}
    for _ in range(40):
        for name, function in (("without", plain), ("with", guarded)):
            began = time.perf_counter()
            for _ in range(100):
                function()
            seconds[name].append((time.perf_counter() - began) / 100)
    guard.close()
    without, with_guard = (sorted(each)[len(each) // 2] for each in seconds.values())
    say(
        f"a call that does nothing takes {1e6 * without:.1f} µs without the guard, {1e6 * with_guard:.1f} µs with it "
        f"(x {with_guard / without:.2f})"
    )
    assert guard.evidence("m") == pytest.approx(1.0)
