"""The errors of this package, one tree. They are raised while setting up and when asking, never while observing."""

from __future__ import annotations


class ObservabilityError(Exception):
    """Base of every error that this package defines."""


class ConfigurationError(ObservabilityError):
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
