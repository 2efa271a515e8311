"""`shim upload`: files through the monolith's own upload functions, several at once."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn
from rich.text import Text

from shim.cli.conventions import ExitCode, JsonOption
from shim.cli.output import note, print_json, printable

if TYPE_CHECKING:
    from tools.storage.port import UploadStorage

_ENDING = (signal.SIGINT, signal.SIGTERM)
_MEGABYTE = 1024 * 1024
_STYLES = {"uploaded": "green", "failed": "red"}


def upload(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files to upload.")],
    *,
    provider: Annotated[
        str | None, typer.Option(metavar="NAME", help="The provider that gets the files; default: the first one.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Files in flight at once.")] = 4,
    json: JsonOption = False,
) -> int:
    """Upload files. Ctrl-C begins no further file and brings those in flight to their end."""
    from tools.application import app
    from tools.providers.spec import PROVIDERS
    from tools.session import session
    from tools.storage import get_storage

    provider = provider or next(iter(PROVIDERS))
    console = Console(stderr=json, highlight=False)
    with session(app, provider) as opened:
        view = _View(files, console, lines=not json)
        batch = Batch(files, provider=provider, storage=get_storage(), concurrency=concurrency, on_end=view.ended)
        started = time.perf_counter()
        with view.progress:
            asyncio.run(batch.run(on_interrupt=_say_interrupted))
        seconds = time.perf_counter() - started
    lost = opened.installation.ledger.lost
    if lost:
        note(f"{lost} records of these uploads could not be written to {opened.installation.ledger.path}")
    if json:
        print_json(_summary(batch, provider=provider, sandbox=opened.sandboxed, seconds=seconds))
    else:
        console.print(_last_line(batch, seconds))
    if batch.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.OK if batch.count(FileStatus.UPLOADED) == len(files) else ExitCode.FAILED


# Several uploads at once, and an orderly end when interrupted


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
                file_id, answer = await _upload_one(self._provider, file, self._storage)
                result = FileResult(
                    file=str(file),
                    status=FileStatus.UPLOADED,
                    seconds=time.perf_counter() - started,
                    file_id=file_id,
                    answer=answer,
                )
            except Exception as error:  # noqa: BLE001  # whatever one file meets is its result; the others go on
                seconds = time.perf_counter() - started
                result = FileResult(file=str(file), status=FileStatus.FAILED, seconds=seconds, error=str(error))
            finally:
                self._in_flight -= 1
                self._results[index] = result
                self._on_end(result)


async def _upload_one(provider: str, file: Path, storage: UploadStorage) -> tuple[str, dict[str, Any]]:
    """Upload one file as any caller of the monolith does, awaiting it where the function offers that.

    Returns:
        The provider's id of the file, and what the upload function returned.

    Raises:
        ValueError, OSError, RuntimeError: as the provider's upload function does.
    """
    from tools.providers.spec import provider as provider_named

    spec = provider_named(provider)
    function: Callable[..., dict[str, Any]] = getattr(import_module(spec.legacy_module), spec.function)
    awaitable = getattr(function, "aio", None)
    if awaitable is None:
        answer = await asyncio.to_thread(function, file, storage)
    else:
        answer = await awaitable(file, storage)
    return str(answer[spec.id_key]), answer


# At a terminal


class _View:
    """A bar over all files, in bytes of those that have ended, and a line for each of these."""

    def __init__(self, files: Sequence[Path], console: Console, *, lines: bool) -> None:
        self._lines = lines
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._ended = 0
        self._files = len(files)
        self._task = self.progress.add_task(self._label(), total=sum(map(_size, files)))

    def ended(self, result: FileResult) -> None:
        """Show that a file has ended."""
        self._ended += 1
        self.progress.update(self._task, advance=_size(Path(result.file)), description=self._label())
        if self._lines:
            self.progress.console.print(_line(result), soft_wrap=True)

    def _label(self) -> str:
        return f"{self._ended} of {self._files} files"


def _line(result: FileResult) -> Text:
    line = Text(f"{result.status:<9} ", _STYLES.get(result.status, "yellow"))
    line.append(printable(result.file), "default")
    if result.answer is not None:
        size = int(result.answer["size_bytes"])
        line.append(f"  {size} bytes  {result.seconds:.2f} s  {result.file_id}", "default")
    if result.error is not None:
        line.append(f"  {printable(result.error)}", "default")
    return line


def _last_line(batch: Batch, seconds: float) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in batch.counts().items() if count)
    sent = batch.bytes_uploaded()
    if sent < _MEGABYTE:
        return f"{counts} in {seconds:.1f} s"
    return f"{counts}: {sent / _MEGABYTE:.1f} MB in {seconds:.1f} s ({sent / _MEGABYTE / seconds:.1f} MB/s)"


def _summary(batch: Batch, *, provider: str, sandbox: bool, seconds: float) -> dict[str, object]:
    return {
        "provider": provider,
        "sandbox": sandbox,
        "interrupted": batch.interrupted,
        **batch.counts(),
        "bytes": batch.bytes_uploaded(),
        "seconds": seconds,
        "files": [asdict(result) for result in batch.results],
    }


def _say_interrupted(in_flight: int) -> None:
    note(f"finishing {in_flight} uploads that are in flight, beginning no others; Ctrl-C again gives them up")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
