"""Keeps a rehearsal out of the log: the call that it repeats has logged the same, and now no row is really missing."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from aiohttp import BadContentDispositionHeader

_SPEAKERS = (
    "tools.engine.batch",
    "tools.engine.recording",
    "tools.providers.blocking",
    "tools.providers.upload_tool",
    "tools.storage.supabase.tus",
)
"""The loggers of both implementations."""

_rehearsing: ContextVar[bool] = ContextVar("rehearsing", default=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what the implementations would log in this context from the log."""
    token = _rehearsing.set(True)
    try:
        yield
    finally:
        _rehearsing.reset(token)


def _is_meant(_record: logging.LogRecord) -> bool:
    return not _rehearsing.get()


for _name in _SPEAKERS:
    logging.getLogger(_name).addFilter(_is_meant)

# the library behind the recorder would quote names of files
warnings.filterwarnings("ignore", category=BadContentDispositionHeader)
