"""Keeps the SDK's own log messages few and free of secrets.

An exporter whose receiver is down complains several times per batch, and its complaints quote exceptions and
environment variables, which may hold a header with a key.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

_EVERY_SECONDS: Final = 60.0
_HARMLESS: Final = frozenset({"spans", "metrics", "logs", "Span", "Log"})
_LOGGERS: Final = (
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.exporter.otlp.proto.http._common",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.metrics._internal",
    "opentelemetry.sdk.metrics._internal.export",
    "opentelemetry.util.re",
)


class QuietFilter(logging.Filter):
    """Lets each message through once a minute, with its arguments replaced by the names of their types."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._next: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide about one record, and strip it."""
        message = (record.name, str(record.msg))  # the template, of which the SDK has a fixed number
        with self._lock:
            now = self._clock()
            if now < self._next.get(message, now):
                return False
            self._next[message] = now + _EVERY_SECONDS
        _strip(record)
        return True


def _strip(record: logging.LogRecord) -> None:
    if isinstance(record.args, Mapping):
        record.args = {name: _harmless(argument) for name, argument in record.args.items()}
    elif record.args:
        record.args = tuple(_harmless(argument) for argument in record.args)
    if record.exc_info and record.exc_info[0]:
        record.msg = f"{record.msg} ({record.exc_info[0].__name__})"
    record.exc_info = None


def _harmless(argument: object) -> object:
    if argument is None or isinstance(argument, (int, float)) or argument in _HARMLESS:
        return argument
    return type(argument).__name__


_filter = QuietFilter()


def quieten_exporters() -> None:
    """Put the filter on the loggers concerned; doing it again changes nothing."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_filter)
