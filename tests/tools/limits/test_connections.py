"""Connections, descriptors and threads of the asynchronous side, driven to their bounds."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Self

import pytest

from migration import Side
from migration.running.workers import MOST_WORKERS
from tests.tools.weather.bench import broken_wires, descriptors
from tools.sandbox import FaultKind, RunningSandbox

AT_ONCE = 80
WIDTH = 4
OF_AN_UPLOAD = 3
"""Its file, its connection, and while the kernel sends, another handle of that."""

OF_ALL = 12
"""The journal's and the row's databases with their logs, and what the event loop has."""


class Most:
    """The highest figures while it is open, looked at again and again."""

    def __init__(self) -> None:
        self.descriptors = 0
        self.workers = 0
        self._there = set(threading.enumerate())
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._looking.join()

    def _look(self) -> None:
        while not self._over.is_set():
            self.descriptors = max(self.descriptors, _own_descriptors())
            workers = [
                thread
                for thread in set(threading.enumerate()) - self._there
                if thread.name.startswith("migration-candidate-worker")
            ]
            self.workers = max(self.workers, len(workers))
            time.sleep(0.001)


def _own_descriptors() -> int:
    """Without the proxies', which are in this process too: they have two for each connection."""
    return len(descriptors())


@pytest.mark.parametrize("size", [2_000, 700_000])
def test_a_crowd_has_its_lane_of_connections_descriptors_and_threads(
    sandbox: RunningSandbox, tmp_path: Path, say: Callable[[str], None], size: int
) -> None:
    """Of eighty uploads at once each provider sees as many connections as its limiters is wide, and the rest waits."""
    sandbox.set_limits(kimi_max_files=1000, glm_max_files=1000)
    for service in ("kimi", "glm"):
        sandbox.inject(FaultKind.LATENCY, service, "files.create", seconds=0.05, times=None)
    with broken_wires(sandbox, tmp_path, supabase=False, upload_concurrency=WIDTH) as bench:
        files = [bench.file(size) for _ in range(AT_ONCE)]
        assert bench.upload("kimi", Side.CANDIDATE, bench.file(size)).error is None
        before = _own_descriptors()
        with ThreadPoolExecutor(AT_ONCE) as pool, Most() as most:
            uploads = [
                pool.submit(copy_context().run, bench.upload, ("kimi", "glm")[number % 2], Side.CANDIDATE, file)
                for number, file in enumerate(files)
            ]
            assert [upload.result().error for upload in uploads] == [None] * AT_ONCE
        open_at_once = [proxy.most_open for proxy in bench.providers.values()]
    proxies = 2 * sum(open_at_once)
    assert max(open_at_once) <= WIDTH
    assert most.workers <= min(MOST_WORKERS, (os.cpu_count() or 1) + 4)
    assert most.descriptors - before <= proxies + 2 * WIDTH * OF_AN_UPLOAD + OF_ALL
    say(
        f"{AT_ONCE} uploads of {size} bytes at once, {WIDTH} wide: {open_at_once} connections, {most.workers} "
        f"threads, {most.descriptors - before - proxies} descriptors more than before"
    )
