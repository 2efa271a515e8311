"""`shim compare`: both implementations on given files, compared as in production, without key and network."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from migration import Side
from migration.model import MISMATCHES, NOT_COMPARED, ONE_SIDED, Difference
from migration.store import symptoms
from shim.cli.conventions import CommandError, ExitCode, JsonOption, JUnitOption
from shim.cli.output import (
    JUnitCase,
    differences_table,
    plain_table,
    print_json,
    printable,
    progress_bar,
    shortened,
    verdict_style,
    write_junit,
)
from tools.cli.compare_files import UploadEntrance, collect, generate

if TYPE_CHECKING:
    from tools.cli.compare_session import ComparedCall, Result
    from tools.sandbox import Fault

_STORAGE = "storage_"


class ComparedFault(StrEnum):
    """What a service answers instead of doing what it is asked; faults without an answer cannot be replayed."""

    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    QUOTA_EXCEEDED = "quota_exceeded"
    SERVER_ERROR = "server_error"
    GATEWAY_TIMEOUT = "gateway_timeout"
    ERROR_IN_SUCCESS = "error_in_success"
    STORAGE_RATE_LIMITED = "storage_rate_limited"
    STORAGE_OVERLOADED = "storage_overloaded"
    STORAGE_SERVER_ERROR = "storage_server_error"
    STORAGE_GATEWAY_TIMEOUT = "storage_gateway_timeout"


def compare(
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE", help="Files, and folders with files.")] = None,
    *,
    provider: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Uploads to this provider only; may be given several times."),
    ] = None,
    entrance: Annotated[
        list[UploadEntrance] | None,
        typer.Option(help="Through this entrance; may be given several times. Default: function."),
    ] = None,
    fault: Annotated[
        ComparedFault | None, typer.Option(help="What the provider (or the storage) answers instead of taking a file.")
    ] = None,
    times: Annotated[
        int | None, typer.Option(min=1, help="To how many requests of a call; default: to every one.")
    ] = None,
    generated: Annotated[
        int, typer.Option(min=0, max=1000, metavar="N", help="Also N files with difficult names and sizes.")
    ] = 0,
    junit: JUnitOption = None,
    json: JsonOption = False,
) -> int:
    """Compare both implementations on files, in a sandbox. No key, no network. Ends with 6 if they differ."""
    from tools.cli.compare_session import compare_all, make_jobs
    from tools.providers.spec import PROVIDERS
    from tools.providers.spec import provider as provider_named

    if not files and not generated:
        raise CommandError(
            "give files or folders, or --generated 40 for files with difficult names and sizes", ExitCode.USAGE
        )
    providers = [provider_named(name).name for name in provider or PROVIDERS]
    faults = {name: _faults(fault, times, name) for name in providers}
    console = Console(stderr=json, highlight=False)
    with tempfile.TemporaryDirectory(prefix="shim-files-") as folder:
        inputs = [*collect(files or []), *generate(Path(folder), generated)]
        jobs = make_jobs(inputs, providers, entrance or [UploadEntrance.FUNCTION])
        started = time.perf_counter()
        with progress_bar() as progress:
            task = progress.add_task("comparing", total=2 * len(jobs))
            results = compare_all(jobs, lambda name: faults[name], on_done=lambda: progress.advance(task))
        seconds = time.perf_counter() - started
    if junit is not None:
        write_junit(junit, "shim compare", [_case(result) for result in results])
    if json:
        print_json(
            {"ok": _code(results) == ExitCode.OK, "seconds": seconds, "comparisons": [_plain(each) for each in results]}
        )
    else:
        console.print(_results_view(results, seconds))
    return _code(results)


def _faults(fault: ComparedFault | None, times: int | None, provider: str) -> list[Fault]:
    from tools.sandbox import Fault, FaultKind, InvalidFaultError

    if fault is None:
        return []
    service = "supabase" if fault.startswith(_STORAGE) else provider
    try:
        return [Fault(kind=FaultKind(fault.removeprefix(_STORAGE)), service=service, times=times)]
    except InvalidFaultError as impossible:
        raise CommandError(f"{impossible}; choose another one with --provider", ExitCode.USAGE) from impossible


def _code(results: Sequence[Result]) -> ExitCode:
    """A difference is a difference; what could not be compared is no success either."""
    if any(result.verdict in MISMATCHES for result in results):
        return ExitCode.DIFFERENT
    return ExitCode.FAILED if any(result.verdict in NOT_COMPARED for result in results) else ExitCode.OK


def _plain(result: Result) -> dict[str, object]:
    return {
        "file": result.job.label,
        "provider": result.job.provider,
        "entrance": result.job.entrance,
        "served": result.served,
        "verdict": result.verdict,
        "differences": [asdict(each) for each in result.differences],
        "detail": result.detail,
    }


def _case(result: Result) -> JUnitCase:
    lines = [f"{each.field}: legacy {each.legacy}, candidate {each.candidate}" for each in result.differences]
    summary = f"{result.verdict}: {result.detail or f'{len(lines)} fields differ'}"
    return JUnitCase(
        group=f"{result.job.provider}.{result.job.entrance}",
        name=f"{result.job.label}, {result.served} serving",
        seconds=result.seconds,
        failure=summary if result.verdict in MISMATCHES else None,
        skipped=summary if result.verdict in NOT_COMPARED else None,
        text="\n".join(lines),
    )


# At a terminal

MAX_AGREEING = 30
"""With more rows than this, those in which nothing differs are only counted."""

_MAX_DIFFERENCES = 8
_NAME_LENGTH, _VALUE_LENGTH = 32, 100


def _results_view(results: Sequence[Result], seconds: float) -> RenderableType:
    """A row for each call with the verdicts for either side serving, then what differs, then the sum."""
    rows: dict[int, dict[Side, Result]] = {}
    for result in results:
        rows.setdefault(id(result.job), {})[result.served] = result
    shown = [row for row in rows.values() if len(rows) <= MAX_AGREEING or not _agrees(row)]
    entrances = len({_job(row).entrance for row in rows.values()}) > 1
    parts: list[RenderableType] = [_verdicts(shown, entrances=entrances)] if shown else []
    for row in shown:
        if not _agrees(row):
            parts += [Text(""), *_differing(row)]
    return Group(*parts, *([Text("")] if parts else []), _sum(results, len(rows) - len(shown), seconds))


def _agrees(row: Mapping[Side, Result]) -> bool:
    return not any(result.verdict in {*MISMATCHES, *NOT_COMPARED} for result in row.values())


def _verdicts(rows: Sequence[Mapping[Side, Result]], *, entrances: bool) -> Table:
    titles = ("file", "provider", *(["entrance"] if entrances else []), "legacy serves", "candidate serves")
    lines: list[Sequence[str | Text]] = []
    for row in rows:
        job = _job(row)
        verdicts = (Text(row[side].verdict, verdict_style(row[side].verdict)) for side in Side)
        entrance = [str(job.entrance)] if entrances else []
        lines.append((shortened(printable(job.label), _NAME_LENGTH), job.provider, *entrance, *verdicts))
    return plain_table(titles, lines, whole=titles[1:])


def _differing(row: Mapping[Side, Result]) -> list[RenderableType]:
    """What differs in one call; said once if it is the same whichever side serves."""
    job = _job(row)
    parts: list[RenderableType] = []
    said: list[tuple[str, str, Sequence[Difference]]] = []
    for side, result in row.items():
        what = (result.verdict, result.detail, result.differences)
        if what in said or (result.verdict not in {*MISMATCHES, *NOT_COMPARED}):
            continue
        said.append(what)
        both = len(row) > 1 and all((each.verdict, each.detail, each.differences) == what for each in row.values())
        head = Text(f"{printable(job.label)} to {job.provider} ", "bold")
        head.append(result.verdict, verdict_style(result.verdict))
        head.append("" if both else f" when {side.value} serves")
        parts += [head, Padding(_details(result), (0, 0, 0, 2))]
    return parts


def _details(result: Result) -> RenderableType:
    found = symptoms(result.verdict, result.differences) if result.verdict in ONE_SIDED else result.differences
    rows = [
        (each.field, shortened(each.legacy, _VALUE_LENGTH), shortened(each.candidate, _VALUE_LENGTH))
        for each in found[:_MAX_DIFFERENCES]
    ]
    parts: list[RenderableType] = [Text(printable(result.detail))] if result.detail else []
    if result.differences:
        parts.append(differences_table(rows))
    others = len(found) - _MAX_DIFFERENCES
    if others > 0:
        parts.append(Text(f"and {others} more fields; --json shows all", "dim"))
    return Group(*parts)


def _sum(results: Sequence[Result], unlisted: int, seconds: float) -> Text:
    counts = Counter(result.verdict for result in results)
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    well = not any(verdict in {*MISMATCHES, *NOT_COMPARED} for verdict in counts)
    text = Text(f"{len(results)} comparisons: {verdicts} ({seconds:.1f} s)", "bold green" if well else "bold red")
    if unlisted:
        text.append(f"; {unlisted} calls in which nothing differs are not listed", "dim")
    return text


def _job(row: Mapping[Side, Result]) -> ComparedCall:
    return next(iter(row.values())).job
