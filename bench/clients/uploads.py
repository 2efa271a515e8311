"""The work of all who upload: some files, so many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.harness import Job

PURPOSE = "file-extract"
TIMEOUT_SECONDS = 300.0

SECRET = "benchmark"  # noqa: S105  # the sink checks no key
"""Stands in for an API key."""


def files_of(job: Job) -> list[Path]:
    """The files of this run: `files` of the options, or the part of them that `share` says."""
    files = [Path(name) for name in job.options["files"]]
    return files[: round(len(files) * job.options.get("share", 1.0))]


class Uploads:
    """Files sent by a blocking function, by several threads if several are to be in flight."""

    def __init__(self, job: Job, send: Callable[[Path], object]) -> None:
        self._send = send
        self._files = files_of(job)
        self._tiny = Path(job.options["tiny"])
        self._threads: int = job.options["at_once"]

    def warm_up(self) -> None:
        """Send the tiny file."""
        self._send(self._tiny)

    def run(self) -> None:
        """Send all files."""
        if self._threads == 1:
            for file in self._files:
                self._send(file)
            return
        with ThreadPoolExecutor(self._threads) as pool:
            for _ in pool.map(self._send, self._files):
                pass


class AsyncUploads:
    """Files sent by a coroutine, by as many tasks as are to be in flight."""

    def __init__(self, job: Job, send: Callable[[Path], Awaitable[object]]) -> None:
        self._send = send
        self._files = files_of(job)
        self._tiny = Path(job.options["tiny"])
        self._tasks: int = job.options["at_once"]

    async def warm_up(self) -> None:
        """Send the tiny file."""
        await self._send(self._tiny)

    async def run(self) -> None:
        """Send all files."""
        left = iter(self._files)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._tasks, len(self._files))):
                group.create_task(self._send_each(left))

    async def _send_each(self, left: Iterator[Path]) -> None:
        for file in left:
            await self._send(file)


def check_answer(answer: Any) -> None:
    """See that the sink took a file: its answer names one.

    Raises:
        ValueError: it does not.
    """
    if not str(answer["id"]).startswith("file-"):
        raise ValueError(f"not the sink's answer: {answer!r}")
