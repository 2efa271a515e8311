from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler, TraceIdRatioBased
from opentelemetry.sdk.trace.sampling import Decision as SamplingDecision
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from observability import LinkAwareSampler, TelemetryConfigurationError
from observability.config import read_environment

KEPT = SamplingDecision.RECORD_AND_SAMPLE
trace_ids = st.integers(1, 2**128 - 1)
ratios = st.floats(0, 1)


def linked(*, sampled: bool) -> Link:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return Link(SpanContext(trace_id=7, span_id=7, is_remote=True, trace_flags=flags))


def keeps(sampler: Sampler, trace_id: int, links: list[Link], parent: Context | None = None) -> bool:
    return sampler.should_sample(parent or Context(), trace_id, "span", links=links).decision is KEPT


@given(trace_ids, ratios, st.lists(st.booleans(), min_size=1, max_size=4))
def test_linked_root_shares_the_fate_of_what_it_links_to(trace_id: int, ratio: float, sampled: list[bool]) -> None:
    """A root with links is kept exactly if one of the linked spans is, whatever its own trace id says."""
    links = [linked(sampled=one) for one in sampled]
    assert keeps(LinkAwareSampler(TraceIdRatioBased(ratio)), trace_id, links) is any(sampled)


@given(trace_ids, ratios)
def test_root_without_links_is_left_to_the_base(trace_id: int, ratio: float) -> None:
    """Without links the ratio decides."""
    base = TraceIdRatioBased(ratio)
    assert keeps(LinkAwareSampler(base), trace_id, []) is keeps(base, trace_id, [])


@given(st.booleans(), st.booleans())
def test_child_is_left_to_the_base(parent_sampled: bool, link_sampled: bool) -> None:  # noqa: FBT001  # drawn values
    """Inside a trace, links change nothing: a trace is kept as a whole."""
    flags = TraceFlags(TraceFlags.SAMPLED if parent_sampled else TraceFlags.DEFAULT)
    span = NonRecordingSpan(SpanContext(trace_id=9, span_id=9, is_remote=False, trace_flags=flags))
    sampler = read_environment({"OTEL_TRACES_SAMPLER": "parentbased_always_on"}).sampler
    assert keeps(sampler, 9, [linked(sampled=link_sampled)], set_span_in_context(span, Context())) is parent_sampled


@pytest.mark.parametrize("name", ["always_on", "parentbased_always_on", "traceidratio", "parentbased_traceidratio"])
def test_samplers_of_the_specification(name: str) -> None:
    """Every sampler that the specification names is known, in any case, and keeps all by default."""
    assert keeps(read_environment({"OTEL_TRACES_SAMPLER": name.upper()}).sampler, 1, [])


def test_always_off_is_final() -> None:
    """`always_off` keeps nothing, linked or not."""
    sampler = read_environment({"OTEL_TRACES_SAMPLER": "always_off"}).sampler
    assert sampler is ALWAYS_OFF
    assert not keeps(sampler, 1, [linked(sampled=True)])


def test_default_keeps_all() -> None:
    """Without a word in the environment every trace is kept."""
    assert keeps(read_environment({}).sampler, 2**128 - 1, []) is keeps(ALWAYS_ON, 1, [])


@given(ratios)
def test_ratio_is_read(ratio: float) -> None:
    """The ratio of the environment is the ratio of the sampler."""
    environ = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": repr(ratio)}
    sampler = read_environment(environ).sampler
    assert sampler.get_description() == f"LinkAware{{TraceIdRatioBased{{{ratio}}}}}"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "a lot"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-5"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "2049"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
    ],
)
def test_wrong_value_names_its_variable(variable: str, value: str) -> None:
    """A value that cannot be used is an error that begins with the variable's name."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", variable: value}
    with pytest.raises(TelemetryConfigurationError, match=f"^{variable}: ") as caught:
        read_environment(environ)
    assert caught.value.variable == variable


def test_endpoints() -> None:
    """The common endpoint is completed with a path, a signal's own is taken as it is, `none` switches a signal off."""
    config = read_environment(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "https://elsewhere/in",
            "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "7",
            "OTEL_LOGS_EXPORTER": "none",
        }
    )
    assert config.traces is not None
    assert config.traces.url == "http://collector:4318/v1/traces"
    assert config.metrics is not None
    assert (config.metrics.url, config.metrics.timeout) == ("https://elsewhere/in", 7)
    assert config.logs is None


def test_nothing_is_sent_by_default() -> None:
    """Without an endpoint in the environment nothing leaves the process; an empty variable counts as not set."""
    config = read_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": " ", "OTEL_TRACES_SAMPLER": ""})
    assert (config.traces, config.metrics, config.logs) == (None, None, None)


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, "migration-shim"),
        ({"OTEL_SERVICE_NAME": "a"}, "a"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team=x, service.name=b"}, "b"),
        ({"OTEL_SERVICE_NAME": "a", "OTEL_RESOURCE_ATTRIBUTES": "service.name=b"}, "a"),
    ],
)
def test_service_name_precedence(environ: dict[str, str], name: str) -> None:
    """OTEL_SERVICE_NAME wins over the resource attributes, these win over the default."""
    assert read_environment(environ).service == name
