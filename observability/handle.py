"""Setting telemetry up and taking it down."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TextIO

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk._logs import LoggerProvider as SdkLoggerProvider
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider

from migration.forking import new_lock, renew_in_child
from migration.threads import note_refusal
from observability.config import read_environment
from observability.exporters import KeepSpans
from observability.instruments import Sources
from observability.pipeline import Pipeline, Plan, build_pipeline

if TYPE_CHECKING:
    from observability.testing import Capture

_logger = logging.getLogger(__name__)

DEFAULT_SHUTDOWN_TIMEOUT: Final = 5.0

RETRY_SECONDS: Final = 10.0
"""How long until it is tried again to begin what the system had no thread for."""


def setup(
    *,
    environ: Mapping[str, str] | None = None,
    prometheus_port: int | None = None,
    prometheus_host: str = "127.0.0.1",
    console: TextIO | None = None,
    capture: Capture | None = None,
    keep_spans: KeepSpans | None = None,
    sources: Sources | None = None,
    set_global: bool = False,
) -> TelemetryHandle:
    """Set telemetry up as the standard `OTEL_*` variables say, with providers of its own.

    Args:
        environ: where the variables are read from; the process's environment by default. The SDK reads those about
            headers, certificates, intervals and resource attributes from the process's environment in any case.
        prometheus_port: port of a Prometheus endpoint, 0 for a free one, None for no endpoint.
        prometheus_host: address it listens on; metrics need no authentication, so loopback is the default.
        console: where each finished span is printed as one line.
        capture: keeps everything in memory, for tests.
        keep_spans: is given finished spans: of a few traces a second, unless others receive all of them.
        sources: who is asked when metrics are collected.
        set_global: also make the providers those of the process (`opentelemetry.trace.get_tracer`, ...), though not
            of processes forked from it.

    Raises:
        TelemetryConfigurationError: a variable has a value that cannot be used.
        PrometheusPortError: the Prometheus endpoint cannot listen.
    """
    plan = Plan(
        environment=read_environment(os.environ if environ is None else environ),
        prometheus_port=prometheus_port,
        prometheus_host=prometheus_host,
        console=console,
        capture=capture,
        keep_spans=keep_spans,
        sources=sources or Sources(),
    )
    handle = TelemetryHandle(plan)
    if set_global:
        trace.set_tracer_provider(handle.tracer_provider)
        metrics.set_meter_provider(handle.meter_provider)
        _logs.set_logger_provider(handle.logger_provider)
    return handle


class TelemetryHandle:
    """Telemetry that has been set up; made by `setup()`.

    A forked process starts with figures of its own: on first use there, everything is built again, apart from the
    Prometheus endpoint, whose port is the parent's. Such a process calls `setup()` itself if it is to be scraped.
    At exit of the interpreter it is shut down if it has not been before. Where the system has no thread for it, nothing
    is observed, and it is tried again after `RETRY_SECONDS`.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._lock = new_lock()
        self._closed = False
        self._retry_at: float | None = None  # when it is tried again to have its threads
        self._pipeline: Pipeline | None = self._built(plan)
        atexit.register(self.shutdown)
        renew_in_child(self)

    @property
    def pipeline(self) -> Pipeline:
        """What telemetry flows through in this process."""
        if self._retry_at is not None and time.monotonic() >= self._retry_at:
            self._build_again()
        return self._pipeline or self._build_after_fork()

    @property
    def enabled(self) -> bool:
        """Whether anything is observed at all (`OTEL_SDK_DISABLED`)."""
        return self.pipeline.enabled

    @property
    def tracer_provider(self) -> trace.TracerProvider:
        """Makes tracers."""
        return self.pipeline.tracer_provider

    @property
    def meter_provider(self) -> metrics.MeterProvider:
        """Makes meters."""
        return self.pipeline.meter_provider

    @property
    def logger_provider(self) -> _logs.LoggerProvider:
        """Makes loggers of events."""
        return self.pipeline.logger_provider

    @property
    def prometheus_url(self) -> str | None:
        """Where the metrics can be scraped, if an endpoint was asked for."""
        endpoint = self.pipeline.prometheus
        return endpoint.url if endpoint else None

    @property
    def pool(self) -> tuple[int, int] | None:
        """Connections of the pool that are in use, and that it may hold; None before there is a pool."""
        return self.pipeline.instruments.pool.state

    def shutdown(self, timeout: float = DEFAULT_SHUTDOWN_TIMEOUT) -> bool:
        """Send what is left, for at most `timeout` seconds, and stop. Never raises; further calls do nothing.

        Returns:
            Whether everything was handed over or refused in time, rather than abandoned.
        """
        with self._lock:
            pipeline, first = self._pipeline, not self._closed
            self._closed = True
        atexit.unregister(self.shutdown)
        if pipeline is None or not first:
            return True
        try:
            in_time = _run_all(_closers(pipeline), timeout)
        except RuntimeError:  # no thread can be started any more
            in_time = False
        pipeline.gate.close()
        if not in_time:
            _logger.warning("telemetry was not delivered within %.1f s; what was left of it is lost", timeout)
        return in_time

    def begin_in_child(self) -> None:
        """Forget what belongs to the parent: the SDK's locks may be held by threads that are gone."""
        self._retry_at = None
        inherited, self._pipeline = self._pipeline, None
        if inherited and inherited.prometheus:
            inherited.prometheus.abandon()

    def _build_after_fork(self) -> Pipeline:
        with self._lock:
            if self._pipeline is None:
                if self._plan.prometheus_port is not None:
                    _logger.warning("this forked process serves no Prometheus metrics; call setup() after the fork")
                    self._plan = replace(self._plan, prometheus_port=None)
                self._pipeline = self._built(self._plan)
            return self._pipeline

    def _build_again(self) -> None:
        with self._lock:
            if self._retry_at is not None and time.monotonic() >= self._retry_at:
                self._pipeline = self._built(self._plan)

    def _built(self, plan: Plan) -> Pipeline:
        """What the plan asks for; nothing once it was shut down, and as long as the system has no thread for it."""
        nothing = replace(plan, environment=replace(plan.environment, disabled=True))
        self._retry_at = None
        try:
            return build_pipeline(nothing if self._closed else plan)
        except (RuntimeError, MemoryError) as error:
            note_refusal("telemetry", error)
            self._retry_at = time.monotonic() + RETRY_SECONDS
            return build_pipeline(nothing)


def _closers(pipeline: Pipeline) -> list[Callable[[], object]]:
    closers: list[Callable[[], object]] = [
        provider.shutdown
        for provider in (pipeline.tracer_provider, pipeline.meter_provider, pipeline.logger_provider)
        if isinstance(provider, (sdk_trace.TracerProvider, SdkMeterProvider, SdkLoggerProvider))
    ]
    if pipeline.prometheus:
        closers.append(pipeline.prometheus.close)
    return closers


def _run_all(actions: list[Callable[[], object]], timeout: float) -> bool:
    """Run the actions side by side and wait for them until the time is up; the SDK's own timeouts do not hold."""
    deadline = time.monotonic() + timeout
    threads = [threading.Thread(target=_contained, args=(action,), daemon=True) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


def _contained(action: Callable[[], object]) -> None:
    try:
        action()
    except Exception as error:  # noqa: BLE001  # the SDK raises bare Exception; a shutdown must go on
        _logger.warning("telemetry could not be shut down cleanly: %s", type(error).__name__)


# Measures the delay of an event loop: how late it wakes a sleeper.

DEFAULT_INTERVAL: Final = 0.1


async def watch_loop_delay(record: Callable[[float], object], *, interval: float = DEFAULT_INTERVAL) -> None:
    """Measure, until cancelled, how much later than asked the running loop wakes a sleeper.

    Args:
        record: is given each delay in seconds.
        interval: seconds between two measurements.
    """
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval
        await asyncio.sleep(interval)
        record(max(0.0, loop.time() - due))


def start_loop_watch(record: Callable[[float], object], *, interval: float = DEFAULT_INTERVAL) -> asyncio.Task[None]:
    """Start `watch_loop_delay` on the running loop, outside of the caller's trace.

    The task lives as long as the loop; in the caller's context it would keep the caller's span as its parent for
    ever. Keep a reference to the task, and cancel it to stop.
    """
    watch = watch_loop_delay(record, interval=interval)
    return asyncio.get_running_loop().create_task(watch, name="loop-delay-watch", context=contextvars.Context())
