"""What the environment says about telemetry, read once and checked.

The variables are those of the OpenTelemetry specification
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/). Those not named here (headers,
certificates, compression, intervals, resource attributes) are read by the SDK itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from observability.names import DEFAULT_SERVICE, Attribute


class ObservabilityError(Exception):
    """Base of every error that this package defines."""


class TelemetryConfigurationError(ObservabilityError):
    """An environment variable of OpenTelemetry has a value that cannot be used."""

    def __init__(self, variable: str, problem: str) -> None:
        self.variable = variable
        self.problem = problem
        super().__init__(f"{variable}: {problem}")


class PrometheusPortError(ObservabilityError):
    """The Prometheus endpoint cannot listen where it was told to."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        self.host = host
        self.port = port
        super().__init__(f"cannot serve Prometheus metrics on {host}:{port} ({reason}); choose another port, or 0")


class LinkAwareSampler(Sampler):
    """Keeps a root span that has links exactly if one of the linked spans is kept; `base` decides about all others.

    A shadow is a trace of its own, linked to its primary. A sampler by trace id decides about the two separately:
    of the shadows that it keeps, it drops most primaries, and the other way round.
    """

    def __init__(self, base: Sampler) -> None:
        self._base = base

    def should_sample(  # noqa: PLR0917  # the signature is the SDK's
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide about one span that is about to start."""
        sampler = self._base
        if links and not get_current_span(parent_context).get_span_context().is_valid:
            sampler = ALWAYS_ON if any(link.context.trace_flags.sampled for link in links) else ALWAYS_OFF
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """Describe the sampler as the specification asks."""
        return f"LinkAware{{{self._base.get_description()}}}"


_DEFAULT_EXPORT_TIMEOUT: Final = 3.0
_DEFAULT_QUEUE: Final = 2048
_DEFAULT_BATCH: Final = 512
_SAMPLER: Final = "OTEL_TRACES_SAMPLER"
_RATIO: Final = "OTEL_TRACES_SAMPLER_ARG"

_SAMPLERS: Final[Mapping[str, Callable[[float], Sampler]]] = {
    "always_on": lambda _: ALWAYS_ON,
    "always_off": lambda _: ALWAYS_OFF,
    "traceidratio": TraceIdRatioBased,
    "parentbased_always_on": lambda _: DEFAULT_ON,
    "parentbased_always_off": lambda _: DEFAULT_OFF,
    "parentbased_traceidratio": lambda ratio: ParentBased(TraceIdRatioBased(ratio)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where one signal is sent over OTLP/HTTP. `timeout` is how many seconds one export may take."""

    url: str
    timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentConfig:
    """The environment's word on telemetry.

    Attributes:
        disabled: nothing is observed at all.
        service: `service.name`.
        sampler: which traces are kept.
        traces: the exporters that receive spans.
        metrics: who receives metrics.
        logs: who receives log events.
    """

    disabled: bool
    service: str
    sampler: Sampler
    traces: Receiver | None
    metrics: Receiver | None
    logs: Receiver | None


def read_environment(environ: Mapping[str, str]) -> EnvironmentConfig:
    """Read and check the variables; an empty one counts as not set.

    Raises:
        TelemetryConfigurationError: a variable has a value that cannot be used.
    """
    values = {name: value.strip() for name, value in environ.items() if name.startswith("OTEL_") and value.strip()}
    _check_queues(values)
    return EnvironmentConfig(
        disabled=values.get("OTEL_SDK_DISABLED", "").lower() == "true",
        service=_service(values),
        sampler=_sampler(values),
        traces=_receiver(values, "TRACES"),
        metrics=_receiver(values, "METRICS"),
        logs=_receiver(values, "LOGS"),
    )


def _check_queues(values: Mapping[str, str]) -> None:
    """Check what the SDK reads by itself: of a wrong value it would say a lot, and not which variable holds it."""
    for queue in ("OTEL_BSP", "OTEL_BLRP"):
        _whole_number(values, f"{queue}_SCHEDULE_DELAY", 1)
        size = _whole_number(values, f"{queue}_MAX_QUEUE_SIZE", _DEFAULT_QUEUE)
        batch = f"{queue}_MAX_EXPORT_BATCH_SIZE"
        if _whole_number(values, batch, _DEFAULT_BATCH) > size:
            raise TelemetryConfigurationError(batch, f"must not be more than {queue}_MAX_QUEUE_SIZE, which is {size}")
    _whole_number(values, "OTEL_METRIC_EXPORT_INTERVAL", 1)


def _whole_number(values: Mapping[str, str], variable: str, default: int) -> int:
    value = values.get(variable, str(default))
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise TelemetryConfigurationError(variable, "must be a whole number, more than 0")
    return int(value)


def _service(values: Mapping[str, str]) -> str:
    pairs = (pair.partition("=") for pair in values.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","))
    resource = {key.strip(): value.strip() for key, _, value in pairs}
    return values.get("OTEL_SERVICE_NAME") or resource.get(Attribute.SERVICE_NAME) or DEFAULT_SERVICE


def _sampler(values: Mapping[str, str]) -> Sampler:
    name = values.get(_SAMPLER, "parentbased_always_on").lower()
    if name not in _SAMPLERS:
        raise TelemetryConfigurationError(_SAMPLER, f"{name!r} is not one of {', '.join(_SAMPLERS)}")
    sampler = _SAMPLERS[name](_ratio(values))
    return sampler if sampler is ALWAYS_OFF else LinkAwareSampler(sampler)


def _ratio(values: Mapping[str, str]) -> float:
    try:
        ratio = float(values.get(_RATIO, "1"))
    except ValueError:
        raise TelemetryConfigurationError(_RATIO, "is not a number") from None
    if not 0 <= ratio <= 1:
        raise TelemetryConfigurationError(_RATIO, "must lie between 0 and 1")
    return ratio


def _receiver(values: Mapping[str, str], signal: str) -> Receiver | None:
    exporter = f"OTEL_{signal}_EXPORTER"
    wanted = values.get(exporter, "otlp").lower()
    if wanted not in {"otlp", "none"}:
        raise TelemetryConfigurationError(exporter, f"{wanted!r} is not one of otlp, none")
    endpoint = _most_specific(values, signal, "ENDPOINT")
    if wanted == "none" or endpoint not in values:
        return None
    protocol = _most_specific(values, signal, "PROTOCOL")
    if values.get(protocol, "http/protobuf") != "http/protobuf":
        raise TelemetryConfigurationError(protocol, "only http/protobuf is available")
    return Receiver(
        url=_url(values, signal, endpoint), timeout=_seconds(values, _most_specific(values, signal, "TIMEOUT"))
    )


def _most_specific(values: Mapping[str, str], signal: str, setting: str) -> str:
    """Return the name of the variable that decides: the signal's own one if it is set, else the common one."""
    own = f"OTEL_EXPORTER_OTLP_{signal}_{setting}"
    return own if own in values else f"OTEL_EXPORTER_OTLP_{setting}"


def _url(values: Mapping[str, str], signal: str, variable: str) -> str:
    """Return where a signal is sent: its own endpoint is taken as it is, the common one is completed with a path."""
    url = values[variable]
    if not url.startswith(("http://", "https://")):
        raise TelemetryConfigurationError(variable, "must start with http:// or https://")
    return url if signal in variable else f"{url.rstrip('/')}/v1/{signal.lower()}"


def _seconds(values: Mapping[str, str], variable: str) -> float:
    try:
        seconds = float(values.get(variable, _DEFAULT_EXPORT_TIMEOUT))
    except ValueError:
        raise TelemetryConfigurationError(variable, "is not a number of seconds") from None
    if not 0 < seconds < math.inf:
        raise TelemetryConfigurationError(variable, "must be more than 0 seconds, and finite")
    return seconds
