"""Several uploads at once through the monolith's own functions, and an orderly end when interrupted."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any

from tools.providers.spec import provider as provider_named
from tools.storage.port import UploadStorage

_ENDING = (signal.SIGINT, signal.SIGTERM)


class FileStatus(StrEnum):
    """How it ended for one file."""

    UPLOADED = "uploaded"
    FAILED = "failed"
    NOT_BEGUN = "not_begun"
    GIVEN_UP = "given_up"  # interrupted while in flight: the provider may have the file


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """What became of one file.

    Attributes:
        file: the path as it was given.
        status: how it ended.
        seconds: how long the call took.
        file_id: the provider's id of it.
        answer: what the upload function returned.
        error: why it failed.
    """

    file: str
    status: FileStatus
    seconds: float = 0.0
    file_id: str | None = None
    answer: dict[str, Any] | None = None
    error: str | None = None


class Batch:
    """Files on their way to one provider.

    Args:
        files: the files.
        provider: its name in the registry.
        storage: where the copies go.
        concurrency: how many are in flight at once.
        on_end: told of each file that has ended.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        provider: str,
        storage: UploadStorage,
        concurrency: int,
        on_end: Callable[[FileResult], None],
    ) -> None:
        self._provider = provider
        self._storage = storage
        self._concurrency = concurrency
        self._on_end = on_end
        self._waiting = list(enumerate(files))[::-1]
        self._in_flight = 0
        self._results = {
            index: FileResult(file=str(file), status=FileStatus.NOT_BEGUN) for index, file in self._waiting
        }
        self.interrupted = False

    @property
    def results(self) -> list[FileResult]:
        """One result a file, in the order in which the files were given."""
        return [self._results[index] for index in sorted(self._results)]

    def count(self, status: FileStatus) -> int:
        """How many files ended like this."""
        return sum(result.status is status for result in self.results)

    def counts(self) -> dict[str, int]:
        """How many files ended how."""
        return {status.value: self.count(status) for status in FileStatus}

    def bytes_uploaded(self) -> int:
        """Bytes of the files that were uploaded."""
        return sum(int(result.answer["size_bytes"]) for result in self.results if result.answer is not None)

    async def run(self, *, on_interrupt: Callable[[int], None]) -> None:
        """Upload everything. The first Ctrl-C lets those in flight end, as nothing half done is left that way.

        The second gives up those that can be: the asynchronous implementation stops, a thread of legacy's cannot and
        is waited for.
        """
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(self._concurrency, thread_name_prefix="upload"))
        workers = [asyncio.create_task(self._work()) for _ in range(self._concurrency)]

        def interrupt() -> None:
            if self.interrupted:
                for worker in workers:
                    worker.cancel()
            else:
                self.interrupted = True
                self._waiting.clear()
                on_interrupt(self._in_flight)

        for number in _ENDING:
            loop.add_signal_handler(number, interrupt)
        try:
            await asyncio.wait(workers)
        finally:
            for number in _ENDING:
                loop.remove_signal_handler(number)
        for worker in workers:
            if not worker.cancelled():
                worker.result()

    async def _work(self) -> None:
        while self._waiting:
            index, file = self._waiting.pop()
            self._in_flight += 1
            started = time.perf_counter()
            result = FileResult(file=str(file), status=FileStatus.GIVEN_UP)
            try:
                answer = await upload(self._provider, file, self._storage)
                result = FileResult(
                    file=str(file),
                    status=FileStatus.UPLOADED,
                    seconds=time.perf_counter() - started,
                    file_id=str(answer[provider_named(self._provider).id_key]),
                    answer=answer,
                )
            except Exception as error:  # noqa: BLE001  # whatever one file meets is its result; the others go on
                seconds = time.perf_counter() - started
                result = FileResult(file=str(file), status=FileStatus.FAILED, seconds=seconds, error=str(error))
            finally:
                self._in_flight -= 1
                self._results[index] = result
                self._on_end(result)


async def upload(provider: str, file: Path, storage: UploadStorage) -> dict[str, Any]:
    """Upload one file as any caller of the monolith does, awaiting it where the function offers that.

    Raises:
        ValueError, OSError, RuntimeError: as the provider's upload function does.
    """
    spec = provider_named(provider)
    function: Callable[..., dict[str, Any]] = getattr(import_module(spec.legacy_module), spec.function)
    awaitable = getattr(function, "aio", None)
    if awaitable is None:
        return await asyncio.to_thread(function, file, storage)
    answer: dict[str, Any] = await awaitable(file, storage)
    return answer
