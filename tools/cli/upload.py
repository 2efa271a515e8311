"""`shim upload`: files through the monolith's own upload functions, several at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn
from rich.text import Text

from shim.cli.exits import ExitCode
from shim.cli.output import note, print_json, printable
from tools.cli.batch import Batch, FileResult, FileStatus
from tools.cli.session import session
from tools.settings import MEGABYTE
from tools.storage import get_storage

_STYLES = {FileStatus.UPLOADED: "green", FileStatus.FAILED: "red"}


def run(files: Sequence[Path], *, provider: str, concurrency: int, as_json: bool) -> int:
    """Upload, show how it goes, and say what was done."""
    console = Console(stderr=as_json, highlight=False)
    with session(provider) as opened:
        view = _View(files, console, lines=not as_json)
        batch = Batch(files, provider=provider, storage=get_storage(), concurrency=concurrency, on_end=view.ended)
        started = time.perf_counter()
        with view.progress:
            asyncio.run(batch.run(on_interrupt=_say_interrupted))
        seconds = time.perf_counter() - started
    summary = _summary(batch, provider=provider, sandbox=opened.sandboxed, seconds=seconds)
    lost = opened.installation.ledger.lost
    if lost:
        note(f"{lost} records of these uploads could not be written to {opened.installation.ledger.path}")
    if as_json:
        print_json(summary)
    else:
        console.print(_last_line(batch, seconds))
    if batch.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.OK if batch.count(FileStatus.UPLOADED) == len(files) else ExitCode.FAILED


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
    counts = ", ".join(f"{batch.count(status)} {status}" for status in FileStatus if batch.count(status))
    sent = batch.bytes_uploaded()
    if sent < MEGABYTE:
        return f"{counts} in {seconds:.1f} s"
    return f"{counts}: {sent / MEGABYTE:.1f} MB in {seconds:.1f} s ({sent / MEGABYTE / seconds:.1f} MB/s)"


def _summary(batch: Batch, *, provider: str, sandbox: bool, seconds: float) -> dict[str, object]:
    return {
        "provider": provider,
        "sandbox": sandbox,
        "interrupted": batch.interrupted,
        **{status.value: batch.count(status) for status in FileStatus},
        "bytes": batch.bytes_uploaded(),
        "seconds": seconds,
        "files": [asdict(result) for result in batch.results],
    }


def _say_interrupted(under_way: int) -> None:
    note(f"finishing {under_way} uploads that are under way, beginning no others; Ctrl-C again gives them up")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
