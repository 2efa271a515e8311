"""`shim callers`, on the example."""

from __future__ import annotations

import re

from shim.cli.conventions import ExitCode
from tests.support.command_line import MakeCommandLine
from tests.support.documents import ROOT


def test_it_fits_a_terminal(command_line: MakeCommandLine) -> None:
    """In 80 columns each file stands in a line of its own, whole, with its call sites below it."""
    shim = command_line(COLUMNS="80")
    source = ROOT / "examples" / "invoices"
    finished = shim("callers", "new-invoices", "--migrations", "billing.migrations:app", "--source", source)
    assert finished.code == ExitCode.OK, finished.err
    lines = [line.rstrip() for line in finished.out.splitlines()]
    assert max(map(len, lines)) <= 80
    at = lines.index("billing/shop.py")
    assert re.fullmatch(r" +\d+ +mail_all +called +never seen", lines[at + 1])
    assert re.fullmatch(r" +\d+ +preview +awaited +never seen", lines[at + 2])
