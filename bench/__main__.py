"""`python -m bench`: run the benchmark, make the page, quote from it."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from rich.console import Console

from bench.competition import Competition
from bench.harness import BenchError, Growth, Row, Scale, UnknownRowError
from bench.machine import Machine, this_machine
from bench.page import quotation, write_page
from bench.proof import Proofs
from bench.results import Results, load_results
from bench.running import ROOT, prepared_stage
from bench.view import View, print_goals

MODULES = (
    "bench.large",
    "bench.crowds",
    "bench.small",
    "bench.growing",
    "bench.routing",
    "bench.shadowing",
)
"""Modules with `rows(scale) -> Sequence[Row]` or `growths(scale) -> Sequence[Growth]`, or both."""


def all_rows(scale: Scale) -> list[Row]:
    """The rows of all modules."""
    return [row for module in _having("rows") for row in module.rows(scale)]


def all_growths(scale: Scale) -> list[Growth]:
    """The growths of all modules."""
    return [growth for module in _having("growths") for growth in module.growths(scale)]


def _having(function: str) -> list[ModuleType]:
    return [module for module in map(importlib.import_module, MODULES) if hasattr(module, function)]


# `python -m bench`: run the benchmark, make the page, quote from it.

BUILD = ROOT / "build" / "bench"
DOCS = ROOT / "docs"

_QUIET = 0.25
"""Load for each core above which the machine is too busy to be measured on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    given = _parser().parse_args(arguments)
    try:
        return int(given.command(given))
    except BenchError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="measure")
    run.add_argument("--quick", action="store_true", help="two minutes; leaves docs/ alone")
    run.add_argument("--only", action="append", default=[], metavar="ROW", help="this row only; leaves docs/ alone")
    run.add_argument(
        "--rounds", type=int, default=100, metavar="N", help="at most N rounds a row; default: as many as it has"
    )
    run.add_argument("--json", action="store_true", help="print the results as JSON")
    run.set_defaults(command=_run)
    listed = commands.add_parser("list", help="name the rows")
    listed.set_defaults(command=_list)
    for name, command, text in (
        ("page", _page, "make docs/benchmarks.md of the last whole run"),
        ("quote", _quote, "print what may be quoted of it"),
    ):
        sub = commands.add_parser(name, help=text)
        sub.add_argument("--results", type=Path, default=BUILD / "results.json", metavar="FILE")
        sub.set_defaults(command=command)
    return parser


def _run(given: argparse.Namespace) -> int:
    scale = Scale(quick=given.quick, files=BUILD / "files", most_rounds=max(1, given.rounds))
    rows, growths = _chosen(scale, set(given.only))
    console = Console(stderr=True, highlight=False)
    machine = this_machine()
    if machine.load > _QUIET * machine.cores:
        console.print(f"The machine is busy (load {machine.load:g}): these figures will be noisy.", style="yellow")
    results = _measured(scale, machine, rows, growths, View(console))
    whole = not given.quick and not given.only
    folder = BUILD if whole else BUILD / ("quick" if given.quick else "part")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_bytes(results.to_json())
    page = write_page(results, DOCS if whole else folder)
    if given.json:
        sys.stdout.buffer.write(results.to_json() + b"\n")
    else:
        print_goals(results)
    console.print(f"{folder / 'results.json'}\n{page}", style="dim", markup=False, soft_wrap=True)
    return 0


def _measured(scale: Scale, machine: Machine, rows: Sequence[Row], growths: Sequence[Growth], view: View) -> Results:
    with prepared_stage(BUILD) as stage, view.progress:
        competition = Competition(
            stage=stage, proofs=Proofs(scale, stage), reporter=view, warm_up_rounds=0 if scale.quick else 1
        )
        return Results(
            quick=scale.quick,
            machine=machine,
            rows=tuple(competition.run(row) for row in rows),
            growths=tuple(competition.grow(growth) for growth in growths),
        )


def _chosen(scale: Scale, names: set[str]) -> tuple[list[Row], list[Growth]]:
    rows, growths = all_rows(scale), all_growths(scale)
    known = [row.name for row in rows] + [growth.name for growth in growths]
    if not names <= set(known):
        raise UnknownRowError(names - set(known), known)
    return (
        [row for row in rows if not names or row.name in names],
        [growth for growth in growths if not names or growth.name in names],
    )


def _list(_given: argparse.Namespace) -> int:
    scale = Scale(quick=False, files=BUILD / "files")
    titles = {row.name: row.title for row in all_rows(scale)}
    titles |= {growth.name: growth.title for growth in all_growths(scale)}
    for name, title in titles.items():
        sys.stdout.write(f"{name:<20} {title}\n")
    return 0


def _page(given: argparse.Namespace) -> int:
    sys.stdout.write(f"{write_page(load_results(given.results), DOCS)}\n")
    return 0


def _quote(given: argparse.Namespace) -> int:
    sys.stdout.write(quotation(load_results(given.results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
