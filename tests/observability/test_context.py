"""With the real core: one call's spans stay together across threads and loops."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from migration import Comparison, Decision, Migration, Runtime, ShadowLimits, Side
from migration.routing import Shim
from observability import HttpTelemetry, Telemetry, TelemetryHandle, setup
from observability.testing import Capture
from tests.observability.making import NAME, FixedRouter, HarmlessReplay, a_decision

URL = "https://api.example.com/v1/files"
Shimmed = Callable[[Decision], AbstractContextManager[Shim[[int], int]]]


@pytest.fixture
def shimmed(handle: TelemetryHandle) -> Shimmed:
    """Makes a shim in front of two implementations, each of which makes an observed HTTP request."""
    http = HttpTelemetry(handle)

    def legacy(number: int) -> int:
        http.request_started(method="POST", url=f"{URL}/legacy").finished(status=200, error=None)
        return number

    async def candidate(number: int) -> int:
        request = http.request_started(method="POST", url=f"{URL}/async")
        await asyncio.to_thread(request.finished, status=200, error=None)
        return number

    @contextmanager
    def make(decision: Decision) -> Iterator[Shim[[int], int]]:
        runtime = Runtime(router=FixedRouter(decision), observers=[Telemetry(handle)], drain_seconds=2.0)
        declaration = Migration(name=NAME, candidate=candidate, replay=HarmlessReplay())
        try:
            yield Shim(declaration, legacy, runtime)
        finally:
            runtime.shadows.drain(10)
            runtime.close()

    return make


def chain(capture: Capture, span: ReadableSpan) -> list[str]:
    """Names from a span up to its root."""
    by_id = {found.context.span_id: found for found in capture.spans() if found.context}
    names = [span.name]
    while span.parent is not None:
        span = by_id[span.parent.span_id]
        names.append(span.name)
    return names


def request_chain(capture: Capture) -> list[str]:
    (request,) = (span for span in capture.spans() if span.name == "POST")
    return chain(capture, request)


def test_sync_call_on_the_background_loop(shimmed: Shimmed, capture: Capture) -> None:
    """The request of the candidate on the background loop hangs below the caller's side span."""
    with shimmed(a_decision(serve=Side.CANDIDATE)) as shim:
        assert shim(1) == 1
    assert request_chain(capture) == ["POST", f"{NAME} candidate", NAME]


async def test_async_call_across_loops(shimmed: Shimmed, capture: Capture) -> None:
    """So it does for a caller on another loop."""
    with shimmed(a_decision(serve=Side.CANDIDATE)) as shim:
        assert await shim.aio(1) == 1
    assert request_chain(capture) == ["POST", f"{NAME} candidate", NAME]


async def test_async_call_of_legacy_in_a_thread(shimmed: Shimmed, capture: Capture) -> None:
    """The request of legacy in a worker thread hangs below the caller's side span."""
    with shimmed(a_decision(serve=Side.LEGACY)) as shim:
        assert await shim.aio(1) == 1
    assert request_chain(capture) == ["POST", f"{NAME} legacy", NAME]


def test_caller_in_an_executor(shimmed: Shimmed, handle: TelemetryHandle, capture: Capture) -> None:
    """A caller in a thread pool that brings its context along stays in its own trace."""
    tracer = handle.tracer_provider.get_tracer("test")
    with (
        shimmed(a_decision(serve=Side.CANDIDATE)) as shim,
        ThreadPoolExecutor(1) as pool,
        tracer.start_as_current_span("application"),
    ):
        pool.submit(contextvars.copy_context().run, shim, 1).result()
    assert request_chain(capture) == ["POST", f"{NAME} candidate", NAME, "application"]


def test_many_threads_do_not_mix(shimmed: Shimmed, capture: Capture) -> None:
    """Calls at the same time each have a trace of their own, with exactly their spans in it."""
    with shimmed(a_decision(serve=Side.CANDIDATE)) as shim, ThreadPoolExecutor(16) as pool:
        assert list(pool.map(shim, range(60))) == list(range(60))
    traces: dict[int, list[str]] = {}
    for span in capture.spans():
        assert span.context is not None
        traces.setdefault(span.context.trace_id, []).append(span.name)
    assert len(traces) == 60
    assert {tuple(sorted(names)) for names in traces.values()} == {("POST", NAME, f"{NAME} candidate")}


def test_shadow_runs_are_linked_traces(shimmed: Shimmed, capture: Capture) -> None:
    """Both rehearsals of a shadowed call are traces of their own that link to the primary run, requests included."""
    with shimmed(a_decision(serve=Side.LEGACY, shadow=True)) as shim:
        shim(1)
    primary = next(span for span in capture.spans() if span.parent and span.name == f"{NAME} legacy")
    shadows = [span for span in capture.spans() if span.links]
    assert {span.name for span in shadows} == {f"{NAME} legacy", f"{NAME} candidate"}
    assert primary.context is not None
    assert {span.links[0].context.span_id for span in shadows} == {primary.context.span_id}
    requests = [chain(capture, span) for span in capture.spans() if span.name == "POST"]
    assert sorted(requests) == sorted(
        [["POST", f"{NAME} legacy", NAME], ["POST", f"{NAME} legacy"], ["POST", f"{NAME} candidate"]]
    )


def test_sampled_shadows_keep_their_primaries() -> None:
    """With one trace in ten kept, a primary and its shadows are kept or dropped together."""
    capture = Capture()
    environ = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
    handle = setup(environ=environ, capture=capture)
    compared: list[Comparison] = []

    class Noting(Telemetry):
        def compared(self, comparison: Comparison) -> None:
            compared.append(comparison)

    async def candidate(number: int) -> int:
        return number

    router = FixedRouter(a_decision(serve=Side.LEGACY, shadow=True))
    runtime = Runtime(router=router, observers=[Noting(handle)], shadow_limits=ShadowLimits(waiting=400))
    shim = Shim(Migration(name=NAME, candidate=candidate, replay=HarmlessReplay()), lambda number: number, runtime)
    for number in range(400):
        shim(number)
    assert runtime.shadows.drain(30)
    runtime.close()
    handle.shutdown()

    assert len(compared) == 400
    linked = {span.links[0].context.trace_id for span in capture.spans() if span.links}
    primaries = {span.context.trace_id for span in capture.spans() if span.name == NAME and span.context}
    assert 0 < len(primaries) < 200
    assert primaries == linked
