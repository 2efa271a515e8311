"""Builds what telemetry flows through: providers, their exporters, the instruments."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TextIO

from opentelemetry._logs import Logger, LoggerProvider, NoOpLoggerProvider
from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk._logs import LoggerProvider as SdkLoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.trace import NoOpTracerProvider, Tracer, TracerProvider

from observability.exporters import (
    DELAY_MILLISECONDS,
    QUEUE_SIZE,
    Gate,
    GatedLogExporter,
    GatedMetricExporter,
    GatedSpanExporter,
    KeepingExporter,
    KeepSpans,
    PrometheusEndpoint,
    few_traces,
    one_line,
    quieten_exporters,
)
from observability.instruments import Instruments, Sources
from observability.names import SCOPE, Attribute

if TYPE_CHECKING:
    from observability.config import EnvironmentConfig
    from observability.testing import Capture

_MAX_ATTRIBUTE_LENGTH: Final = 1024
_CONSOLE_DELAY_MILLISECONDS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be built: the environment's word, and the arguments of `setup`; kept for a forked process."""

    environment: EnvironmentConfig
    prometheus_port: int | None = None
    prometheus_host: str = "127.0.0.1"
    console: TextIO | None = None
    capture: Capture | None = None
    keep_spans: KeepSpans | None = None
    sources: Sources = Sources()  # noqa: RUF009  # it is frozen

    @property
    def records_all_spans(self) -> bool:
        """Whether an exporter receives all spans that the environment's sampler keeps."""
        return bool(self.environment.traces or self.console or self.capture)

    @property
    def records_spans(self) -> bool:
        """Whether an exporter receives spans; otherwise none is recorded."""
        return self.records_all_spans or self.keep_spans is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """What telemetry flows through in one process."""

    tracer_provider: TracerProvider
    meter_provider: MeterProvider
    logger_provider: LoggerProvider
    tracer: Tracer
    logger: Logger
    instruments: Instruments
    prometheus: PrometheusEndpoint | None
    gate: Gate
    enabled: bool
    records_spans: bool


def build_pipeline(plan: Plan) -> Pipeline:
    """Build everything that the plan asks for.

    Raises:
        PrometheusPortError: the Prometheus endpoint cannot listen.
        RuntimeError: the system has no thread for it.
    """
    gate = Gate()
    if plan.environment.disabled:
        nothing = NoOpTracerProvider(), NoOpMeterProvider(), NoOpLoggerProvider()
        return _assemble(plan, *nothing, endpoint=None, gate=gate, enabled=False)
    quieten_exporters()
    endpoint = _prometheus(plan)
    try:
        resource = Resource.create({Attribute.SERVICE_NAME: plan.environment.service})
        meters = _meter_provider(plan, resource, gate, endpoint)
        tracers = _tracer_provider(plan, resource, gate, meters)
        loggers = _logger_provider(plan, resource, gate, meters)
    except BaseException:
        gate.close()
        if endpoint is not None:
            endpoint.close()
        raise
    return _assemble(plan, tracers, meters, loggers, endpoint=endpoint, gate=gate, enabled=True)


def _assemble(
    plan: Plan,
    tracers: TracerProvider,
    meters: MeterProvider,
    loggers: LoggerProvider,
    *,
    endpoint: PrometheusEndpoint | None,
    gate: Gate,
    enabled: bool,
) -> Pipeline:
    return Pipeline(
        tracer_provider=tracers,
        meter_provider=meters,
        logger_provider=loggers,
        tracer=tracers.get_tracer(SCOPE),
        logger=loggers.get_logger(SCOPE),
        instruments=Instruments(meters.get_meter(SCOPE), plan.sources),
        prometheus=endpoint,
        gate=gate,
        enabled=enabled,
        records_spans=enabled and plan.records_spans,
    )


def _prometheus(plan: Plan) -> PrometheusEndpoint | None:
    if plan.prometheus_port is None:
        return None
    return PrometheusEndpoint(host=plan.prometheus_host, port=plan.prometheus_port)


def _meter_provider(plan: Plan, resource: Resource, gate: Gate, endpoint: PrometheusEndpoint | None) -> MeterProvider:
    environment = plan.environment
    readers: list[MetricReader] = []
    if endpoint:
        readers.append(endpoint.reader)
    if environment.metrics:
        exporter = GatedMetricExporter(gate, environment.metrics)
        readers.append(PeriodicExportingMetricReader(exporter))
    if plan.capture:
        readers.append(plan.capture.new_metric_reader())
    if not readers:
        return NoOpMeterProvider()
    delivers_exemplars = environment.metrics or plan.capture  # Prometheus' exporter drops them
    return SdkMeterProvider(
        metric_readers=readers,
        resource=resource,
        exemplar_filter=None if delivers_exemplars else AlwaysOffExemplarFilter(),
        shutdown_on_exit=False,
    )


def _tracer_provider(plan: Plan, resource: Resource, gate: Gate, meters: MeterProvider) -> TracerProvider:
    environment = plan.environment
    processors: list[sdk_trace.SpanProcessor] = []
    if environment.traces:
        exporter = GatedSpanExporter(gate, environment.traces)
        processors.append(BatchSpanProcessor(exporter, meter_provider=meters))
    if plan.console:
        printer = ConsoleSpanExporter(out=plan.console, formatter=partial(one_line, labels=plan.sources.labels))
        processors.append(
            BatchSpanProcessor(
                printer, schedule_delay_millis=_CONSOLE_DELAY_MILLISECONDS, meter_provider=NoOpMeterProvider()
            )
        )
    if plan.capture:
        processors.append(SimpleSpanProcessor(plan.capture.span_exporter, meter_provider=NoOpMeterProvider()))
    if plan.keep_spans:
        processors.append(_keeper(plan, plan.keep_spans))
    provider = sdk_trace.TracerProvider(
        sampler=_sampler(plan),
        resource=resource,
        shutdown_on_exit=False,
        span_limits=sdk_trace.SpanLimits(max_attribute_length=_MAX_ATTRIBUTE_LENGTH),
        meter_provider=meters,
    )
    for processor in processors:
        provider.add_span_processor(processor)
    return provider


def _keeper(plan: Plan, keep: KeepSpans) -> sdk_trace.SpanProcessor:
    keeper = KeepingExporter(keep)
    if not plan.records_all_spans:  # they are few, and a batch takes a thread, which every fork would start again
        return SimpleSpanProcessor(keeper, meter_provider=NoOpMeterProvider())
    return BatchSpanProcessor(
        keeper,
        max_queue_size=QUEUE_SIZE,
        max_export_batch_size=QUEUE_SIZE,
        schedule_delay_millis=DELAY_MILLISECONDS,
        meter_provider=NoOpMeterProvider(),
    )


def _sampler(plan: Plan) -> Sampler:
    if plan.records_all_spans:
        return plan.environment.sampler
    return few_traces() if plan.keep_spans else ALWAYS_OFF


def _logger_provider(plan: Plan, resource: Resource, gate: Gate, meters: MeterProvider) -> LoggerProvider:
    environment = plan.environment
    provider = SdkLoggerProvider(resource=resource, shutdown_on_exit=False, meter_provider=meters)
    if environment.logs:
        exporter = GatedLogExporter(gate, environment.logs)
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter, meter_provider=meters))
    if plan.capture and plan.capture.receives_events:
        provider.add_log_record_processor(
            SimpleLogRecordProcessor(plan.capture.log_exporter, meter_provider=NoOpMeterProvider())
        )
    return provider
