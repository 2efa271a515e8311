"""OpenTelemetry behind the core's observer port: spans, metrics, events and where they go."""

from observability.errors import ConfigurationError, ObservabilityError, PrometheusPortError, PrometheusQueryError
from observability.handle import TelemetryHandle, setup
from observability.http import HttpTelemetry
from observability.loop import start_loop_watch, watch_loop_delay
from observability.prometheus_query import PrometheusTallies
from observability.recent import RecentSpan
from observability.sampling import LinkAwareSampler
from observability.sources import Sources
from observability.telemetry import Telemetry

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
