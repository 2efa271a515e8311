"""How much memory a piece of work needs at its highest."""

from __future__ import annotations

import gc
import threading
from types import TracebackType
from typing import Self

import psutil

_SAMPLE_SECONDS = 0.002


class PeakMemory:
    """Watches this process's resident memory for the length of a `with` block."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)
        self._before = self._peak = 0

    @property
    def growth(self) -> int:
        """Bytes by which the highest sample lies above the first."""
        return self._peak - self._before

    def __enter__(self) -> Self:
        gc.collect()
        self._before = self._peak = self._resident()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _resident(self) -> int:
        return int(self._process.memory_info().rss)

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            self._peak = max(self._peak, self._resident())
