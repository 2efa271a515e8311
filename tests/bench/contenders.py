"""Contenders that do what a test needs; each is run in a process of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from bench.clients.raw import raw
from bench.clients.uploads import Uploads
from bench.harness import Figures, Job, Repeated


@contextmanager
def honest(job: Job) -> Iterator[Uploads]:
    """Sends every file."""
    with raw(job) as work:
        yield work


@contextmanager
def forgetful(job: Job) -> Iterator[Uploads]:
    """Leaves the last file out."""
    options = {**job.options, "files": job.options["files"][:-1] or [job.options["tiny"]]}
    with raw(Job(options=options, folder=job.folder, server=job.server)) as work:
        yield work


@contextmanager
def mangling(job: Job) -> Iterator[Uploads]:
    """Sends as many bytes as it should, but not those of the file."""
    other = job.folder / "other.bin"
    with raw(job) as work:

        def send(path: Path) -> None:
            other.write_bytes(b"x" * path.stat().st_size)
            work._send(other)

        yield Uploads(job, send)


@contextmanager
def failing(job: Job) -> Iterator[Repeated]:
    """Raises."""
    yield Repeated(lambda: job.options["no such option"], times=1)


@contextmanager
def endless(job: Job) -> Iterator[Repeated]:
    """Takes too long."""
    yield Repeated(lambda: time.sleep(job.options["seconds"]), times=1, warm_up_times=0)


@contextmanager
def own_figures(_job: Job) -> Iterator[_OwnFigures]:
    """Returns figures of its own."""
    yield _OwnFigures()


class _OwnFigures:
    def warm_up(self) -> None:
        pass

    def run(self) -> Figures:
        return {"wall_seconds": 2.0, "p99_ms": 7.0, "memory_mib": float("nan")}


@asynccontextmanager
async def blocking(job: Job) -> AsyncIterator[_Blocking]:
    """Stops its loop once, and holds memory for a moment; in its warm-up it holds more."""
    yield _Blocking(job.options)


class _Blocking:
    def __init__(self, options: Mapping[str, float]) -> None:
        self._options = options
        self._held = b""

    async def warm_up(self) -> None:
        self._held = b"x" * round(3 * self._options["mebibytes"] * 2**20)
        self._held = b""

    async def run(self) -> None:
        await asyncio.sleep(0.02)
        time.sleep(self._options["seconds"])  # noqa: ASYNC251  # the stall that is to be seen
        self._held = b"x" * round(self._options["mebibytes"] * 2**20)
        self._held = b""
