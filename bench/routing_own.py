"""The shim around a function that does nothing, and the parts of such a call, each alone."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from opentelemetry import trace
from opentelemetry.metrics import Histogram
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer
from UnleashClient.clients.unleash_client import UnleashClient
from UnleashClient.constants import FEATURES_URL
from UnleashClient.utils import InstanceAllowType

from bench.harness import Job, Repeated, Work
from flags import SHADOW_SUFFIX, UnleashRouter
from flags.http import MemoryCache
from migration import Migration, Observer, Runtime, migrate
from migration.routing import Shim
from migration.store import Ledger
from observability import Telemetry, TelemetryHandle, setup
from observability.names import SCOPE, Attribute, Metric, Unit
from observability.testing import Capture

CALL: Final = "async-upload"

RUN_ATTRIBUTES: Final = {
    Attribute.MIGRATION.value: CALL,
    Attribute.SIDE.value: "legacy",
    Attribute.ROLE.value: "primary",
}
"""What a duration is recorded with."""

SPAN_ATTRIBUTES: Final = {Attribute.SIDE.value: "legacy", Attribute.ROLE.value: "primary"}
"""What the span of a run says."""

CALL_ATTRIBUTES: Final[Mapping[str, str | int]] = {
    **SPAN_ATTRIBUTES,
    Attribute.CODE_FUNCTION_NAME.value: "caller",
    Attribute.CODE_FILE_PATH.value: "caller.py",
    Attribute.CODE_LINE_NUMBER.value: 1,
    Attribute.FLAG_REASON.value: "static",
}
"""What the span of a call says."""


class _Nowhere(InMemorySpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002  # thrown away
        return SpanExportResult.SUCCESS


class _Discarding(Capture):
    """Spans are recorded, measurements added up, and nothing is kept. Events have no receiver."""

    receives_events = False

    def __init__(self) -> None:
        super().__init__()
        self.span_exporter = _Nowhere()


@contextmanager
def discarded_telemetry() -> Iterator[TelemetryHandle]:
    """Telemetry that costs a call what it costs everywhere, without what exporters do besides."""
    handle = setup(environ={}, capture=_Discarding(), set_global=True)
    try:
        yield handle
    finally:
        handle.shutdown()


def tracer_of(handle: TelemetryHandle) -> Tracer:
    """The tracer for those who make their spans themselves."""
    return handle.tracer_provider.get_tracer(SCOPE)


def duration_of(handle: TelemetryHandle) -> Histogram:
    """The histogram for those who measure durations themselves; its buckets are those of the shim's."""
    return handle.meter_provider.get_meter(SCOPE).create_histogram(Metric.OPERATION_DURATION, Unit.SECONDS)


# The shim around a function that does nothing, and the parts of such a call, each alone.

_NO_CALL, _EVERY_CALL = 0, 100
_WARM_UP_CALLS = 300


class Threads:
    """Calls from several threads at once, which share them out."""

    def __init__(self, call: Callable[[], object], *, times: int, threads: int) -> None:
        self._each = Repeated(call, times=times // threads)
        self._threads = threads

    def warm_up(self) -> None:
        """Call a few times."""
        self._each.warm_up()

    def run(self) -> None:
        """Call as often as told."""
        threads = [threading.Thread(target=self._each.run) for _ in range(self._threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def calls_of(job: Job, call: Callable[[], object]) -> Work:
    """The work of a row: calls of `call`, on as many threads as the row says."""
    times, threads = job.options["calls"], job.options.get("threads", 1)
    return Repeated(call, times=times) if threads == 1 else Threads(call, times=times, threads=threads)


def names_of(job: Job) -> Sequence[str]:
    """The migrations of a row, by name."""
    return [CALL, *(f"{CALL}-{number}" for number in range(2, job.options.get("migrations", 1) + 1))]


@contextmanager
def shim(job: Job) -> Iterator[Work]:
    """Two flags of a file decide; the call and the run are spans; the duration is recorded."""
    with _runtime(job, share=_NO_CALL) as runtime:
        turn = itertools.cycle(_shims(job, runtime))
        yield calls_of(job, lambda: next(turn)())  # noqa: PLW0108  # another one each time


class Awaited:
    """Calls that are awaited one after the other."""

    def __init__(self, shim: Shim[[], None], *, times: int) -> None:
        self._shim = shim
        self._times = times

    async def warm_up(self) -> None:
        """Call a few times."""
        await self._repeat(_WARM_UP_CALLS)

    async def run(self) -> None:
        """Call as often as told."""
        await self._repeat(self._times)

    async def _repeat(self, times: int) -> None:
        for _ in range(times):
            await self._shim.aio()


@asynccontextmanager
async def shim_awaited(job: Job) -> AsyncIterator[Awaited]:
    """As `shim`, with the flag at 100 %: the candidate runs on the background loop, the caller awaits on its own."""
    with _runtime(job, share=_EVERY_CALL) as runtime:
        (routed,) = _shims(job, runtime)
        yield Awaited(routed, times=job.options["calls"])


@contextmanager
def evaluations(job: Job) -> Iterator[Work]:
    """Both flags, asked as everybody asks them."""
    client = offline_client(definitions(names_of(job)))

    yield calls_of(job, lambda: _ask(client))
    client.destroy()


@contextmanager
def spans(job: Job) -> Iterator[Work]:
    """The span of the call and, inside, that of the run."""
    with discarded_telemetry() as handle:
        tracer = tracer_of(handle)

        def make() -> None:
            with (
                tracer.start_as_current_span(CALL, attributes=CALL_ATTRIBUTES),
                tracer.start_as_current_span(f"{CALL} legacy", attributes=SPAN_ATTRIBUTES),
            ):
                pass

        yield calls_of(job, make)


@contextmanager
def metrics(job: Job) -> Iterator[Work]:
    """The duration of the run, recorded inside a span, as it is in a call: it may become an exemplar."""
    with discarded_telemetry() as handle, trace.use_span(tracer_of(handle).start_span(CALL)):
        duration = duration_of(handle)
        yield calls_of(job, lambda: duration.record(1e-6, RUN_ATTRIBUTES))


class Hops:
    """A coroutine that does nothing, run on another loop and awaited on this one, and something done around it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, around: Callable[[], object], *, times: int) -> None:
        self._loop = loop
        self._around = around
        self._times = times

    async def warm_up(self) -> None:
        """Go there a few times."""
        await self._repeat(_WARM_UP_CALLS)

    async def run(self) -> None:
        """Go there as often as told."""
        await self._repeat(self._times)

    async def _repeat(self, times: int) -> None:
        for _ in range(times):
            self._around()
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_candidate(), self._loop))


@asynccontextmanager
async def parts_awaited(job: Job) -> AsyncIterator[Hops]:
    """The flags, the spans, the duration, and the way to another loop as the standard library has it, in turn.

    Together, because every part takes longer for a thread that was just asleep than it does alone.
    """
    client = offline_client(definitions(names_of(job)))
    with discarded_telemetry() as handle:
        tracer, duration = tracer_of(handle), duration_of(handle)

        def all_parts() -> None:
            _ask(client)
            with (
                tracer.start_as_current_span(CALL, attributes=CALL_ATTRIBUTES),
                tracer.start_as_current_span(f"{CALL} legacy", attributes=SPAN_ATTRIBUTES),
            ):
                duration.record(1e-6, RUN_ATTRIBUTES)

        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        yield Hops(loop, all_parts, times=job.options["calls"])
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    client.destroy()


def _ask(client: UnleashClient) -> None:
    context = {"sessionId": os.urandom(16).hex(), "properties": {}}
    client.is_enabled(CALL, context)
    client.is_enabled(CALL + SHADOW_SUFFIX, context)


def offline_client(definitions: str) -> UnleashClient:
    """Unleash's own client, which evaluates these definitions without any request."""
    cache = MemoryCache()
    cache.set(FEATURES_URL, definitions)
    cache.bootstrapped = True
    return UnleashClient(
        url="http://offline.invalid",
        app_name="bench",
        cache=cache,
        disable_metrics=True,
        disable_registration=True,
        multiple_instance_mode=InstanceAllowType.SILENTLY_ALLOW,
    )


async def _candidate() -> None:
    """Do nothing."""


def _legacy() -> None:
    """Do nothing."""


@contextmanager
def _runtime(job: Job, *, share: int) -> Iterator[Runtime]:
    file = job.folder / "flags.json"
    file.write_text(definitions(names_of(job), share), encoding="utf-8")
    router = UnleashRouter.from_file(file)
    with discarded_telemetry() as handle:
        observers: Sequence[Observer] = [Telemetry(handle)] if job.options.get("telemetry", True) else []
        runtime = Runtime(router=router, observers=[*observers, *_ledgers(job)])
        yield runtime
        runtime.close()
        router.close()


def _ledgers(job: Job) -> Sequence[Observer]:
    return [Ledger(Path(job.folder) / "shim.db")] if job.options.get("ledger") else []


def _shims(job: Job, runtime: Runtime) -> Sequence[Shim[[], None]]:
    return [migrate(Migration(name=name, candidate=_candidate), runtime=runtime)(_legacy) for name in names_of(job)]


def definitions(names: Sequence[str], share: int = _NO_CALL) -> str:
    """The flags of these migrations: a share is served by the candidate, nothing is compared."""
    flags = [flag for name in names for flag in (_flag(name, share), _flag(name + SHADOW_SUFFIX, _NO_CALL))]
    return json.dumps({"version": 2, "features": flags})


def _flag(name: str, share: int) -> dict[str, object]:
    parameters = {"rollout": str(share), "stickiness": "sessionId", "groupId": name}
    return {
        "name": name,
        "type": "release",
        "enabled": True,
        "strategies": [{"name": "flexibleRollout", "parameters": parameters, "constraints": []}],
    }
