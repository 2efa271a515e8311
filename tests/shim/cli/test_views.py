"""`shim status --watch`, on a real terminal, and `shim report` as a person uses them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from flags import FileFlagAdmin
from tests.support.command_line import CommandLine

COLUMNS, LINES = 80, 40
SECONDS = 60.0
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")


def _take_terminal() -> None:
    """Make the terminal that of the process, or Ctrl-C would reach no process."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A command on a terminal of 80 columns."""

    def __init__(self, shim: CommandLine, *arguments: str) -> None:
        self._mine, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.process = subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, "-m", "shim.cli", *arguments],
            cwd=shim.folder,
            env=shim.environment | {"TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=_take_terminal,  # noqa: PLW1509  # this process has one thread
        )
        os.close(theirs)
        self.shown = ""

    @property
    def text(self) -> str:
        """What was shown so far, without colours and movements."""
        return _ESCAPES.sub("", self.shown)

    def read_until(self, wanted: str, times: int = 1) -> None:
        """Read until this was shown so often."""
        deadline = time.monotonic() + SECONDS
        while self.text.count(wanted) < times:
            assert time.monotonic() < deadline, self.text
            self._read(0.2)

    def press_control_c(self) -> int:
        """Press it as a person does, and return the exit code."""
        os.write(self._mine, b"\x03")
        code = self.process.wait(SECONDS)
        while self._read(0.1):
            pass
        return code

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._mine)

    def _read(self, seconds: float) -> bool:
        shown = select.poll()  # `select.select` knows no descriptor from 1024 on
        shown.register(self._mine, select.POLLIN)
        if not shown.poll(seconds * 1000):
            return False
        with contextlib.suppress(OSError):  # the other end is closed
            piece = os.read(self._mine, 65536)
            self.shown += piece.decode()
            return bool(piece)
        return False


@contextlib.contextmanager
def on_terminal(shim: CommandLine, *arguments: str) -> Iterator[Terminal]:
    terminal = Terminal(shim, *arguments)
    try:
        yield terminal
    finally:
        terminal.close()


def test_a_live_view(shim: CommandLine, flags: FileFlagAdmin) -> None:
    """It shows what has changed, fits into 80 columns, and ends quietly with Ctrl-C."""
    with on_terminal(shim, "status", "--watch") as terminal:
        terminal.read_until("async-upload-kimi", 2)
        flags.set_percentage("async-upload-kimi", 37)
        flags.turn_on("async-upload-kimi")
        terminal.read_until("37 %")
        assert terminal.press_control_c() == 0
        assert "Traceback" not in terminal.text
        assert max(map(len, terminal.text.replace("\r", "\n").split("\n"))) <= COLUMNS
        assert terminal.shown.count("\x1b[?25l") == terminal.shown.count("\x1b[?25h")  # the cursor is back


@pytest.mark.usefixtures("flags")
def test_without_a_terminal(shim: CommandLine) -> None:
    """The picture is printed once, without colours, and that is all."""
    finished = shim("status", "--watch")
    assert finished.code == 0
    assert finished.out.count("async-upload-kimi") == 1
    assert "\x1b" not in finished.out


@pytest.mark.usefixtures("flags")
def test_a_report_is_written(shim: CommandLine) -> None:
    """By default next to where the command is typed; elsewhere on request; what cannot be written is said."""
    written = shim("report", "async-upload-kimi")
    assert written.code == 0, written.err
    assert written.err == ""
    path = shim.folder / "async-upload-kimi-report.html"
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    other = shim("report", "async-upload-kimi", "--output", shim.folder / "nowhere" / "report.html")
    assert other.code == 1
    assert "--output" in other.err
    assert shim("report", "async-upload").code == 2
