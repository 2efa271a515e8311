"""`shim shadows clean`: removes what live shadows left that could not do it themselves."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shim.cli.exits import ExitCode
from shim.cli.output import print_json, printable
from tools.settings import get_settings
from tools.shadowing import Fate, Leftover, clean


def run(*, dry_run: bool, forget: bool, as_json: bool) -> int:
    """Clean up, and say of each leftover what has become of it.

    Raises:
        StoreError: the journal of live shadows cannot be used.
    """
    leftovers = asyncio.run(clean(get_settings(), dry_run=dry_run, forget=forget))
    if as_json:
        print_json([asdict(leftover) for leftover in leftovers])
    elif leftovers:
        _print_table(leftovers)
    else:
        Console(highlight=False).print("Live shadows have left nothing.")
    uncertain = any(leftover.fate is Fate.UNCERTAIN for leftover in leftovers)
    return ExitCode.FAILED if uncertain else ExitCode.OK


def _print_table(leftovers: list[Leftover]) -> None:
    table = Table("begun", "names begin with", "", "what", box=None, header_style="bold")
    for leftover in leftovers:
        begun = datetime.fromtimestamp(leftover.begun, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(begun, leftover.mark, leftover.fate, Text(printable(leftover.detail)))
    Console(highlight=False).print(table)
