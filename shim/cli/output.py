"""What a command shows: results on standard output, everything else on standard error; times, bars, live pictures."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from migration import Side
from migration.model import MISMATCHES, NOT_COMPARED
from shim.cli.conventions import CommandError, ExitCode

OWN_PACKAGES = ("tools", "shim", "migration", "flags", "observability")

_LAYOUT = "\n\t"


def printable(text: str, *, keep: str = "") -> str:
    """The text with everything unprintable as an escape, but for `keep`: a file's name must not steer the terminal."""
    return "".join(
        character if character.isprintable() or character in keep else character.encode("unicode_escape").decode()
        for character in text
    )


def print_anything() -> None:
    """Print as an escape what the terminal cannot show: an upload must not end in a failure to say so."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Print a result, which may have several lines."""
    sys.stdout.write(f"{printable(text, keep=_LAYOUT)}\n")
    sys.stdout.flush()


def print_json(document: object) -> None:
    """Print one JSON document on one line, in ASCII: a file's name need not be text that can be encoded."""
    say(json.dumps(document))


def note(text: str) -> None:
    """Tell the person at the terminal something that is not the result."""
    sys.stderr.write(f"shim: {printable(text)}\n")
    sys.stderr.flush()


# Tables, times and values

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def show(picture: RenderableType) -> None:
    """Print a table or a text, without guessing what in it might be a number."""
    Console(highlight=False).print(picture)


def finish(document: object, *shown: RenderableType, as_json: bool, code: ExitCode = ExitCode.OK) -> ExitCode:
    """Print the result of a command, as a JSON document or as people read it; returns `code`."""
    if as_json:
        print_json(document)
        return code
    for each in shown:
        if isinstance(each, str):
            say(each)
        else:
            show(each)
    return code


def plain_table(titles: Sequence[str], rows: Iterable[Sequence[str | Text]], *, whole: Collection[str] = ()) -> Table:
    """A table without lines whose columns fold, but for those in `whole`; without a head if no column has a title."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=any(titles))
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=title in whole)
    for row in rows:
        table.add_row(*(Text(printable(cell, keep="\n")) if isinstance(cell, str) else cell for cell in row))
    return table


def verdict_style(verdict: str) -> str:
    """The colour of a verdict of a comparison."""
    return "red" if verdict in MISMATCHES else "yellow" if verdict in NOT_COMPARED else "green"


def differences_table(rows: Iterable[Sequence[str]], *further: str) -> Table:
    """Fields that differ: the field, `further` columns, and the values of both sides."""
    return plain_table(("field", *further, *Side), rows, whole=("field", *further))


def local_time(at: float) -> str:
    """Seconds since the epoch as date and time of this place."""
    return datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds")[:19]


def clock(at: float) -> str:
    """Seconds since the epoch as time of day of this place."""
    return local_time(at)[11:]


def ago(seconds: float) -> str:
    """A stretch of time as people say it."""
    if seconds < _MINUTE:
        return f"{seconds:.0f} s ago"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min ago"
    return f"{seconds / _HOUR:.0f} h ago" if seconds < 2 * _DAY else f"{seconds / _DAY:.0f} days ago"


def shortened(value: str, length: int) -> str:
    """The beginning of a value, for a list."""
    return value if len(value) <= length else f"{value[: length - 3]}..."


# While a command goes on


def progress_bar(console: Console | None = None) -> Progress:
    """A bar with its task's name, how much is done, and the time; on standard error unless a console is given.

    Nothing is shown where there is no terminal.
    """
    console = console or Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def show_live(picture: Callable[[], RenderableType], *, every: float) -> None:
    """Show it every so many seconds until Ctrl-C, the orderly end; once where there is no terminal.

    The last picture stays on the terminal. One that is higher than the terminal is cut at its bottom.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console.print(picture())
        return
    try:
        with Live(picture(), console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                time.sleep(every)
                live.update(picture(), refresh=True)
    except KeyboardInterrupt:
        return


# JUnit XML, the form in which build servers take test results


@dataclass(frozen=True, slots=True, kw_only=True)
class JUnitCase:
    """One result.

    Attributes:
        group: what it belongs to, with dots (`classname`).
        name: what was tried.
        seconds: how long it took.
        failure: what is wrong, in one line; None when nothing is.
        skipped: why it says nothing; None when it does.
        text: the details of either.
    """

    group: str
    name: str
    seconds: float = 0.0
    failure: str | None = None
    skipped: str | None = None
    text: str = ""


def write_junit(path: Path, suite: str, cases: Sequence[JUnitCase]) -> None:
    """Write the results as one suite, over what is there.

    Raises:
        CommandError: the file cannot be written.
    """
    from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite  # noqa: PLC0415  # for those who ask for it

    found = TestSuite(suite)
    for case in cases:
        written = TestCase(_legal(case.name), _legal(case.group), case.seconds)
        for kind, message in ((Failure, case.failure), (Skipped, case.skipped)):
            if message is not None:
                result = kind(_legal(message))
                if case.text:
                    result.text = _legal(case.text)
                written.result = [result]
        found.add_testcase(written)
    report = JUnitXml()
    report.add_testsuite(found)
    try:
        report.write(str(path), pretty=True)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from error


def _legal(text: str) -> str:
    """XML has no way to write most control characters, nor half ones."""
    return printable(text, keep="\n\t")


# The program's own log


class _OneLine(logging.Formatter):
    """A log record as one line; of an exception nothing but its type and text."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        error: Any = record.exc_info[1] if record.exc_info else None
        if error is not None:
            text = f"{text} ({type(error).__name__}: {error})"
        return printable(f"shim: {record.levelname.lower()}: {' '.join(text.split())}")


class _InFull(logging.Formatter):
    """A log record with its traceback, as it is."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep=_LAYOUT)


def configure_logging(*, debug: bool) -> None:
    """Let warnings appear as one line each on standard error; with `debug` this program's whole log, in full."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_InFull("shim: %(name)s: %(message)s") if debug else _OneLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    if debug:  # not those of the vendors' clients, which log what they send
        for package in OWN_PACKAGES:
            logging.getLogger(package).setLevel(logging.DEBUG)
    else:
        logging.getLogger("flags").setLevel(logging.ERROR)  # the commands themselves say what is wrong with the flags
