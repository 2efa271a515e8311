from __future__ import annotations

import asyncio
import contextlib
import time

from opentelemetry.trace import get_current_span

from observability import Telemetry, TelemetryHandle, start_loop_watch
from observability.names import Metric
from observability.testing import Capture


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_blocked_loop_is_seen() -> None:
    """A loop that stands still for 250 ms makes a sleeper of 100 ms at least 150 ms late."""
    delays: asyncio.Queue[float] = asyncio.Queue()
    watch = start_loop_watch(delays.put_nowait, interval=0.1)
    await delays.get()  # the sleeper has just begun to sleep again
    time.sleep(0.25)  # noqa: ASYNC251  # blocking the loop is the point
    async with asyncio.timeout(10):
        while await delays.get() < 0.15:
            pass
    await stop(watch)


async def test_watch_belongs_to_no_trace(handle: TelemetryHandle) -> None:
    """A watch started inside a span does not keep that span as its parent for ever."""
    seen: asyncio.Queue[bool] = asyncio.Queue()
    with handle.tracer_provider.get_tracer("test").start_as_current_span("request"):
        assert get_current_span().get_span_context().is_valid
        watch = start_loop_watch(
            lambda _: seen.put_nowait(get_current_span().get_span_context().is_valid), interval=0.001
        )
    assert await seen.get() is False
    await stop(watch)


async def test_delay_is_a_histogram(telemetry: Telemetry, capture: Capture) -> None:
    """The delays are measured in seconds."""
    telemetry.loop_delayed(0.247)
    ((_, point),) = capture.points(Metric.EVENT_LOOP_DELAY)
    assert (point.sum, point.count) == (0.247, 1)


async def test_watch_can_be_stopped() -> None:
    """Cancelling the task ends the watch."""
    watch = start_loop_watch(lambda _: None, interval=0.001)
    await stop(watch)
    assert watch.cancelled()
