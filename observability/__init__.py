"""OpenTelemetry behind the core's observer port: spans, metrics, events and where they go."""

from observability._handle import TelemetryHandle, setup
from observability._http import HttpTelemetry
from observability._loop import start_loop_watch, watch_loop_delay
from observability._prometheus_query import PrometheusTallies
from observability._recent import RecentSpan
from observability._sampling import LinkAwareSampler
from observability._sources import Sources
from observability._telemetry import Telemetry
from observability.errors import ConfigurationError, ObservabilityError, PrometheusPortError, PrometheusQueryError

__all__ = [
    "ConfigurationError",
    "HttpTelemetry",
    "LinkAwareSampler",
    "ObservabilityError",
    "PrometheusPortError",
    "PrometheusQueryError",
    "PrometheusTallies",
    "RecentSpan",
    "Sources",
    "Telemetry",
    "TelemetryHandle",
    "setup",
    "start_loop_watch",
    "watch_loop_delay",
]
