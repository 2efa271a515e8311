"""OpenTelemetry behind the library's observer port: spans, metrics, events and where they go."""

from observability.config import LinkAwareSampler, ObservabilityError, PrometheusPortError, TelemetryConfigurationError
from observability.exporters import RecentSpan
from observability.handle import TelemetryHandle, setup, start_loop_watch, watch_loop_delay
from observability.instruments import Gauge, Sources
from observability.telemetry import HttpTelemetry, Telemetry

__all__ = [
    "Gauge",
    "HttpTelemetry",
    "LinkAwareSampler",
    "ObservabilityError",
    "PrometheusPortError",
    "RecentSpan",
    "Sources",
    "Telemetry",
    "TelemetryConfigurationError",
    "TelemetryHandle",
    "setup",
    "start_loop_watch",
    "watch_loop_delay",
]
