"""Finds out who called, and which callers block an event loop."""

from __future__ import annotations

import sys
import threading
from types import CodeType, FrameType

from migration.model.model import CallSite

MAX_REPORTED_SITES = 1000
"""Beyond this many call sites no further ones are reported as blocking a loop."""

MAX_KNOWN_SITES = 1000
"""Call sites that are remembered; beyond, all are forgotten and found anew."""

_PACKAGE = __name__.partition(".")[0]
_INSIDE = f"{_PACKAGE}."


_sites: dict[tuple[int, int], tuple[CodeType, CallSite]] = {}
"""By the identity of the code, which is kept beside it so that it stays the only one, and the place in it."""


def calling_site() -> CallSite:
    """The innermost frame outside this package."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # inspect.stack() reads source files: milliseconds
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module != _PACKAGE and not module.startswith(_INSIDE):
            known = _sites.get((id(frame.f_code), frame.f_lasti))
            return known[1] if known else _found(frame)
        frame = frame.f_back
    return CallSite(function="?", file="?", line=0)


def _found(frame: FrameType) -> CallSite:
    """The site of a frame seen for the first time; a line's number takes long to find in a long function."""
    code = frame.f_code
    site = CallSite(function=code.co_qualname, file=code.co_filename, line=frame.f_lineno)
    if len(_sites) >= MAX_KNOWN_SITES:
        _sites.clear()
    _sites[id(code), frame.f_lasti] = code, site
    return site


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
