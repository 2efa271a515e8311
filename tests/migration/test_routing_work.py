"""What a routed call does besides its work, counted instead of timed: a regression shows on every machine alike."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from flags import SHADOW_SUFFIX, UnleashRouter
from flags.probability import Engine
from migration import Migration, Runtime, migrate
from migration.routing import Shim
from migration.running.in_flight import PREPARED_IDS
from migration.store import Ledger
from migration.store.ledger_writer import LedgerWriter, Write, folded
from observability import Telemetry, setup
from observability.names import Event, Metric
from observability.testing import Capture

NAME = "async-upload"
CALLS = 200

MOST_FUNCTION_CALLS = 280
"""Python functions entered in one call, OpenTelemetry's included. 257 are; a span or a flag more would be 25 to 60."""

MOST_BLOCKS_LEFT = 100
"""Blocks of memory that may be left over after hundreds of calls: what is prepared, remembered or interned."""


def flags(share: int) -> str:
    def flag(name: str, percentage: int) -> dict[str, object]:
        parameters = {"rollout": str(percentage), "stickiness": "sessionId", "groupId": name}
        strategy = {"name": "flexibleRollout", "parameters": parameters, "constraints": []}
        return {"name": name, "type": "release", "enabled": True, "strategies": [strategy]}

    return json.dumps({"version": 2, "features": [flag(NAME, share), flag(NAME + SHADOW_SUFFIX, 0)]})


def legacy() -> str:
    return "old"


async def candidate() -> str:
    return "new"


@pytest.fixture
def share() -> int:
    """Percentage that the candidate serves."""
    return 0


@pytest.fixture
def capture() -> Capture | None:
    """Where spans are recorded."""
    return Capture()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "shim.db")
    yield ledger
    ledger.flush()


@pytest.fixture
def shim(tmp_path: Path, share: int, capture: Capture | None, ledger: Ledger) -> Iterator[Shim[[], str]]:
    """A function that does nothing, put together as in production, its first calls made."""
    file = tmp_path / "flags.json"
    file.write_text(flags(share))
    router = UnleashRouter.from_file(file)
    telemetry = setup(environ={}, capture=capture, prometheus_port=None if capture else 0)
    runtime = Runtime(router=router, observers=[Telemetry(telemetry), ledger])
    shim: Shim[[], str] = migrate(Migration(name=NAME, candidate=candidate), runtime=runtime)(legacy)
    for _ in range(20):
        assert shim() == ("new" if share else "old")
    yield shim
    runtime.close(1.0)
    router.close()
    telemetry.shutdown()


def called(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list[None]:
    """A list that has an item for each call of a method from now on."""
    calls: list[None] = []
    original: Callable[..., object] = getattr(owner, name)

    def counted(*args: object, **kwargs: object) -> object:
        calls.append(None)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return calls


def test_a_call_asks_the_engine_twice(shim: Shim[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for who serves, once for whether to compare; the context is written once, the probabilities are known."""
    asked, written = called(monkeypatch, Engine, "is_enabled"), called(monkeypatch, Engine, "write")
    for _ in range(CALLS):
        shim()
    assert (len(asked), len(written)) == (2 * CALLS, CALLS)


def test_a_call_is_two_spans_one_event_and_one_duration(shim: Shim[[], str], capture: Capture) -> None:
    """The call and the run of its side; nothing else is recorded."""
    before = len(capture.spans()), len(capture.events(Event.FLAG_EVALUATION))
    for _ in range(CALLS):
        shim()
    spans = Counter(span.name for span in capture.spans()[before[0] :])
    assert spans == {NAME: CALLS, f"{NAME} legacy": CALLS}
    assert len(capture.events(Event.FLAG_EVALUATION)) - before[1] == CALLS
    assert [point.count for _, point in capture.points(Metric.OPERATION_DURATION)] == [CALLS + 20]
    assert capture.points(Metric.FILE_SIZE) == []


def test_many_calls_are_few_statements(
    shim: Shim[[], str], ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A call hands over two records at most and wakes no thread; a thousand take two statements, their place one."""
    assert ledger.flush()
    handed_over, statements = called(monkeypatch, LedgerWriter, "put"), list[int]()

    def counted(writes: Iterable[Write]) -> list[Write]:
        found = folded(writes)
        statements.append(len(found))
        return found

    monkeypatch.setattr("migration.store.ledger_writer.folded", counted)
    for _ in range(CALLS):
        shim()
    assert ledger.flush()
    assert CALLS <= len(handed_over) <= 2 * CALLS
    assert 0 < sum(statements) <= 2 * len(statements) + 1
    assert ledger.lost == 0
    assert (tmp_path / "shim.db").exists()


@pytest.mark.parametrize("capture", [None])
def test_the_way_through_is_short(shim: Shim[[], str]) -> None:
    """Few Python functions are entered when no spans are received; metrics are recorded all the same."""
    entered: Counter[str] = Counter()
    mine = threading.get_ident()

    def note(frame: object, event: str, _argument: object) -> None:
        if event == "call" and threading.get_ident() == mine:
            entered[str(frame)] += 1

    before = sys.getprofile()
    shim()
    sys.setprofile(note)
    try:
        shim()
    finally:
        sys.setprofile(before)
    assert sum(entered.values()) <= MOST_FUNCTION_CALLS, entered.most_common(20)


@pytest.mark.parametrize("capture", [None])
def test_calls_leave_nothing_behind(shim: Shim[[], str], ledger: Ledger) -> None:
    """Memory does not grow with the number of calls, and a call leaves no cycle that only the collector could free."""

    def work() -> int:
        for _ in range(3 * PREPARED_IDS):  # uses up the prepared ids, and as many are prepared afterwards
            shim()
        assert ledger.flush()
        gc.collect()
        return sys.getallocatedblocks()

    work()  # what is made once is made
    before = work()
    assert work() - before <= MOST_BLOCKS_LEFT
    gc.disable()
    try:
        for _ in range(CALLS):
            shim()
        assert gc.collect() <= CALLS // 10
    finally:
        gc.enable()


class Hops:
    """Counts what two event loops have to do, in the calls of `shim.aio()`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.across = called(monkeypatch, asyncio.BaseEventLoop, "call_soon_threadsafe")
        self.steps = called(monkeypatch, asyncio.Handle, "_run")

    async def in_calls_of(self, shim: Shim[[], str]) -> tuple[float, float]:
        """Hops from one thread to another, and steps of either loop, of one call."""
        await shim.aio()
        across, steps = len(self.across), len(self.steps)
        for _ in range(CALLS):
            await shim.aio()
        return (len(self.across) - across) / CALLS, (len(self.steps) - steps) / CALLS


@pytest.mark.parametrize("share", [100])
async def test_an_awaited_call_goes_to_the_other_loop_and_back(
    shim: Shim[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hop there and one back, and no step of a loop that is not needed for them."""
    hops, steps = await Hops(monkeypatch).in_calls_of(shim)
    assert hops == 2
    assert steps <= 10


async def test_an_awaited_call_of_legacy_is_one_hop_to_a_thread(
    shim: Shim[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker runs it and wakes the caller's loop once."""
    hops, steps = await Hops(monkeypatch).in_calls_of(shim)
    assert hops == 1
    assert steps <= 4
