"""`shim upload`: files through the monolith's own upload functions, several at once."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn
from rich.text import Text

from shim.cli.exits import ExitCode
from shim.cli.options import JsonOption
from shim.cli.output import note, print_json, printable

if TYPE_CHECKING:
    from tools.cli.batch import Batch, FileResult

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
    from tools.cli.batch import Batch, FileStatus
    from tools.cli.session import session
    from tools.providers.spec import PROVIDERS
    from tools.storage import get_storage

    provider = provider or next(iter(PROVIDERS))
    console = Console(stderr=json, highlight=False)
    with session(provider) as opened:
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
