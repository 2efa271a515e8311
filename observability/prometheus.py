"""The endpoint that Prometheus scrapes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import CollectorRegistry, start_http_server

from observability.errors import PrometheusPortError

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer


class PrometheusEndpoint:
    """Serves the metrics of one meter provider at `/metrics`, from a registry of its own.

    Raises:
        PrometheusPortError: the port is taken, or may not be used.
    """

    def __init__(self, *, host: str, port: int) -> None:
        registry = CollectorRegistry()
        self.reader = PrometheusMetricReader(registry=registry, scope_info_enabled=False)
        self._server: WSGIServer
        self._thread: threading.Thread
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except (OSError, OverflowError) as refused:
            raise PrometheusPortError(host, port, getattr(refused, "strerror", None) or str(refused)) from refused
        self.url = f"http://{host}:{self._server.server_port}/metrics"

    def close(self) -> None:
        """Stop serving. Scrapes under way are left to end by themselves."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def abandon(self) -> None:
        """Close the socket inherited from the parent process, whose thread does the serving."""
        self._server.socket.close()
