"""A page that is left open does not grow."""

from __future__ import annotations

import itertools
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from migration import Side
from shim.console.server import WINDOWS
from shim.console.state import ConsoleSources, States
from shim.process_metrics import CallSample, ProcessSample
from tests.shim.console.conftest import Open, Opened
from tests.shim.console.scene import FLAG, Served
from tests.support.samples import write_samples
from tools.application import app
from tools.settings import Settings

Run = Callable[..., Served]

HEAP_BYTES = 6_000_000
"""By which the page's heap may differ, after it was cleared up: charts hold more points or fewer, code is
compiled late. A page that kept the states would hold more than this after
a hundred updates, for a state takes some 80 kB."""

LOOKS = 8

WARM_UP = 40
"""Updates after which everything has been drawn that will be."""


RECORDED = 60
"""Different states that the page is shown in turn."""

VIEWS = ("Evidence", "Comparisons", "Decisions", "Journal", "Traces", "Overview")


@dataclass(frozen=True, slots=True)
class Size:
    """How large the page is after it was cleared up."""

    heap: int
    nodes: int
    listeners: int


def size_of(opened: Opened) -> Size:
    """Clear up, and look; a few times, for a chart that is being drawn counts twice. The least of each counts."""
    session = opened.page.context.new_cdp_session(opened.page)
    looks = []
    for _ in range(LOOKS):
        opened.wait_for_updates(1)
        session.send("HeapProfiler.collectGarbage")
        heap = session.send("Runtime.getHeapUsage")["usedSize"]
        counters = session.send("Memory.getDOMCounters")
        looks.append((int(heap), counters["nodes"], counters["jsEventListeners"]))
    session.detach()
    heaps, nodes, listeners = zip(*looks, strict=True)
    return Size(min(heaps), min(nodes), min(listeners))


def happen(settings: Settings, number: int) -> None:
    """Let a call end and memory change, so that no two states are the same."""
    at, side = time.time(), (Side.LEGACY, Side.CANDIDATE)[number % 2]
    error = "TimeoutError" if number % 5 == 0 else None
    write_samples(
        settings.shim_db,
        [
            CallSample(at=at, migration=FLAG, side=side, seconds=0.01 * (number % 7), bytes=1000, error=error),
            ProcessSample(
                at=at, process="web-1:1", memory=10**8 + number, memory_limit=10**9, pool_used=number % 9,
                pool_limit=64, loop_delay=0.001 * (number % 5),
            ),
        ],
    )  # fmt: skip


def recorded(settings: Settings) -> Iterator[Mapping[str, object]]:
    """States that the console really made, one after the other, without end: reading is slower than the page is."""
    with closing(ConsoleSources.of(app, settings)) as sources:
        states, tape = States(sources, now=time.time), []
        for number in range(RECORDED):
            happen(settings, number)
            tape.append(states.state(FLAG, WINDOWS[0]))
    return itertools.cycle(tape)


@pytest.mark.parametrize("updates", [150, pytest.param(10_000, marks=pytest.mark.thorough)])
def test_it_does_not_grow(
    *,
    filled: Settings,
    console_of: Run,
    open_page: Open,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    updates: int,
    say: Callable[[str], None],
) -> None:
    """Through all updates, in all views, nodes and listeners stay as many as they were, and the heap as large."""
    shutil.copytree(filled.shim_home, tmp_path / "home")
    settings = filled.model_copy(update={"shim_home": tmp_path / "home"})
    tape = recorded(settings)
    monkeypatch.setattr(States, "state", lambda *_: next(tape))
    opened = open_page(console_of(settings, every=0.001))
    opened.wait_for_updates()
    for name in VIEWS * 2:
        opened.view(name)
        opened.wait_for_updates(WARM_UP)
    before, began, seen = size_of(opened), time.monotonic(), opened.updates
    for name in VIEWS:
        opened.view(name)
        opened.wait_for_updates(math.ceil(updates / len(VIEWS)), seconds=1200)
    after, count = size_of(opened), opened.updates - seen
    say(
        f"{count} updates in {time.monotonic() - began:.0f} s: "
        f"heap {before.heap / 1e6:.2f} to {after.heap / 1e6:.2f} MB, "
        f"nodes {before.nodes} to {after.nodes}, listeners {before.listeners} to {after.listeners}"
    )
    assert count >= updates
    assert after.heap < before.heap + HEAP_BYTES
    assert after.nodes < before.nodes * 1.2 + 200
    assert after.listeners < before.listeners * 1.2 + 100
