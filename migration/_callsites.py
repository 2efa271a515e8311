"""Finds out who called, and which callers block an event loop."""

from __future__ import annotations

import sys
import threading
from types import FrameType

from migration._model import CallSite

MAX_REPORTED_SITES = 1000
"""Beyond this many call sites no further ones are reported as blocking a loop."""

_PACKAGE = __name__.partition(".")[0]


def calling_site() -> CallSite:
    """The innermost frame outside this package."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # inspect.stack() reads source files: milliseconds
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame = frame.f_back
    if frame is None:
        return CallSite(function="?", file="?", line=0)
    return CallSite(function=frame.f_code.co_qualname, file=frame.f_code.co_filename, line=frame.f_lineno)


class OncePerSite:
    """Says for each call site once that it is new."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, int]] = set()
        self._lock = threading.Lock()

    def is_new(self, site: CallSite) -> bool:
        """Whether this site is seen for the first time, and there is room to remember it."""
        key = (site.file, site.line)
        with self._lock:
            if key in self._seen or len(self._seen) >= MAX_REPORTED_SITES:
                return False
            self._seen.add(key)
            return True
