"""`shim compare`: both implementations on given files, compared as in production, without key and network."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from migration.store import MISMATCHES, NOT_COMPARED
from shim.cli.errors import CommandError
from shim.cli.exits import ExitCode
from shim.cli.junit import JUnitCase, write_junit
from shim.cli.output import print_json
from shim.cli.progress import progress_bar
from tools.cli.compare_files import collect, generate
from tools.cli.compare_session import Entrance, Result, compare, make_jobs
from tools.cli.compare_view import results_view
from tools.sandbox import Fault, FaultKind, InvalidFaultError
from tools.storage.port import ProviderName

_STORAGE = "storage_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How the files are to be uploaded.

    Attributes:
        providers: to whom.
        entrances: through which of the monolith's entrances.
        fault: what goes wrong; the name of a fault of the provider, or of the storage with `storage_` before it.
        times: how many requests of a call it hits; None for every one.
    """

    providers: Sequence[str]
    entrances: Sequence[str]
    fault: str | None = None
    times: int | None = None


def run(files: Sequence[Path], choice: Choice, *, generated: int, junit: Path | None, as_json: bool) -> int:
    """Compare, show what differs, and say by the exit code whether anything does."""
    if not files and not generated:
        raise CommandError(
            "give files or folders, or --generated 40 for files with difficult names and sizes", ExitCode.USAGE
        )
    providers: list[ProviderName] = ["kimi" if name == "kimi" else "glm" for name in choice.providers]
    faults = {provider: _faults(choice, provider) for provider in providers}
    console = Console(stderr=as_json, highlight=False)
    with tempfile.TemporaryDirectory(prefix="shim-files-") as folder:
        inputs = [*collect(files), *generate(Path(folder), generated)]
        jobs = make_jobs(inputs, providers, [Entrance(name) for name in choice.entrances])
        started = time.perf_counter()
        with progress_bar() as progress:
            task = progress.add_task("comparing", total=2 * len(jobs))
            results = compare(jobs, lambda provider: faults[provider], on_done=lambda: progress.advance(task))
        seconds = time.perf_counter() - started
    if junit is not None:
        write_junit(junit, "shim compare", [_case(result) for result in results])
    if as_json:
        print_json(
            {"ok": _code(results) == ExitCode.OK, "seconds": seconds, "comparisons": [_plain(each) for each in results]}
        )
    else:
        console.print(results_view(results, seconds))
    return _code(results)


def _faults(choice: Choice, provider: ProviderName) -> list[Fault]:
    if choice.fault is None:
        return []
    service = "supabase" if choice.fault.startswith(_STORAGE) else provider
    try:
        return [Fault(kind=FaultKind(choice.fault.removeprefix(_STORAGE)), service=service, times=choice.times)]
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
    lines = [f"{each.field}: legacy {each.legacy}, async {each.candidate}" for each in result.differences]
    summary = f"{result.verdict}: {result.detail or f'{len(lines)} fields differ'}"
    return JUnitCase(
        group=f"{result.job.provider}.{result.job.entrance}",
        name=f"{result.job.label}, {result.served} serving",
        seconds=result.seconds,
        failure=summary if result.verdict in MISMATCHES else None,
        skipped=summary if result.verdict in NOT_COMPARED else None,
        text="\n".join(lines),
    )
