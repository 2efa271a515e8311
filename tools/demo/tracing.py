"""The spans of one call, picked from the lines that telemetry prints for a human."""

from __future__ import annotations

import io
from collections import deque

_KEPT_LINES = 5000
_OF_WHOLE_CALL = " reason="  # only the span of the call as a whole, which ends last, carries the decision


class TraceLines(io.StringIO):
    """Takes the place of a terminal; keeps the last lines that were printed."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)

    def write(self, text: str) -> int:
        """Keep a printed line."""
        self._lines.append(text)
        return len(text)

    def of_trace(self, traceparent: str | None) -> list[str]:
        """The lines of one trace, in the order in which the spans began, without the id that they all have."""
        if traceparent is None:
            return []
        mark = f" trace={traceparent.split('-')[1]}"
        return [line.replace(mark, "").rstrip() for line in sorted(self._lines.copy()) if mark in line]

    def is_complete(self, traceparent: str | None) -> bool:
        """Whether all spans of the trace have been printed."""
        return any(_OF_WHOLE_CALL in line for line in self.of_trace(traceparent))
