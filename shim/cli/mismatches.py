"""`shim mismatches`: where the two implementations were seen to differ, and one such comparison in full."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from migration.shadow import noise_report
from migration.store import MISMATCHES, NOT_COMPARED, Cause, LedgerReader, causes
from shim.cli.errors import CommandError
from shim.cli.exits import ExitCode
from shim.cli.junit import JUnitCase, write_junit
from shim.cli.mismatches_view import Overview, noise_view, one_comparison, overview
from shim.cli.output import note, print_json
from tools.settings import get_settings

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,6})([smhd])")


def run(
    name: str | None,
    *,
    since: str | None,
    verdicts: Collection[str],
    limit: int,
    each: bool,
    check: bool,
    junit: Path | None,
    as_json: bool,
) -> int:
    """List them, grouped by cause or each for itself; with `check`, say by the exit code whether there are any."""
    ledger, now = LedgerReader(get_settings().shim_db), time.time()
    earliest = 0.0 if since is None else now - parse_duration(since)
    counts = ledger.verdicts(name, since=earliest)
    found = ledger.comparisons(name, verdicts=verdicts or MISMATCHES, since=earliest)
    groups = causes(found)
    if junit is not None:
        not_compared = ledger.comparisons(name, verdicts=NOT_COMPARED, since=earliest)
        write_junit(junit, "shim mismatches", [*_cases(groups), *_skipped(causes(not_compared)), *_agreeing(counts)])
    if as_json:
        listed = {"comparisons": [asdict(one) for one in found[:limit]]} if each else {}
        print_json({"verdicts": counts, "causes": [asdict(cause) for cause in groups[:limit]], **listed})
    else:
        shown = Overview(counts=counts, causes=groups, comparisons=found if each else (), limit=limit, now=now)
        Console(highlight=False).print(overview(shown))
        if not counts:
            note(_nothing_recorded(name, since))
    return ExitCode.DIFFERENT if check and found else ExitCode.OK


def show(number: int, *, as_json: bool) -> int:
    """Show one comparison, both sides next to each other.

    Raises:
        CommandError: there is none with this number.
    """
    ledger = LedgerReader(get_settings().shim_db)
    found = ledger.comparison(number)
    if found is None:
        raise CommandError(f"no comparison {number} is recorded (any more); `shim mismatches` lists those that are")
    if as_json:
        print_json(asdict(found))
    else:
        Console(highlight=False).print(one_comparison(found, now=time.time()))
    return ExitCode.OK


def show_noise(name: str | None, *, as_json: bool) -> int:
    """Show what is known of fields in which legacy, run twice, differs from itself."""
    ledger = LedgerReader(get_settings().shim_db)
    names = [name] if name else ledger.migrations()
    reports = [noise_report(each, ledger.noise_samples(each)) for each in names]
    if as_json:
        print_json({"reports": [asdict(report) for report in reports]})
        return ExitCode.OK
    Console(highlight=False).print(noise_view(reports))
    if not any(report.samples for report in reports):
        note("legacy was never run twice; it is for a share of the compared calls (SHADOW_NOISE_SHARE)")
    return ExitCode.OK


def parse_duration(text: str) -> int:
    """Seconds of `90s`, `15m`, `2h` or `3d`.

    Raises:
        CommandError: it is none of these.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise CommandError(f"--since takes a number with s, m, h or d, as in 2h, not {text!r}", ExitCode.USAGE)
    return int(found[1]) * _UNITS[found[2]]


def _nothing_recorded(name: str | None, since: str | None) -> str:
    which = f" of {name}" if name else ""
    when = f" in the last {since}" if since else ""
    return (
        f"no comparison{which} is recorded{when}; `shim flags set {name or 'NAME'}.shadow 20` compares a fifth of the "
        "calls, `shim compare FILE` compares a file at once"
    )


def _cases(groups: Sequence[Cause]) -> list[JUnitCase]:
    return [
        JUnitCase(
            group=cause.function.replace(":", "."),
            name=f"{cause.verdict}: {', '.join(symptom.field for symptom in cause.symptoms)}",
            failure=f"{cause.count} comparisons; `shim mismatches show {cause.example}` shows the newest",
            text="\n".join(
                f"{symptom.field} ({symptom.kind}): legacy {symptom.legacy}, async {symptom.candidate}"
                for symptom in cause.symptoms
            ),
        )
        for cause in groups
    ]


def _skipped(groups: Sequence[Cause]) -> list[JUnitCase]:
    return [
        JUnitCase(
            group=cause.function.replace(":", "."),
            name=f"{cause.verdict}: {cause.detail}",
            skipped=f"{cause.count} calls were not compared",
        )
        for cause in groups
    ]


def _agreeing(counts: dict[str, int]) -> list[JUnitCase]:
    others = {*MISMATCHES, *NOT_COMPARED}
    return [
        JUnitCase(group="agreeing", name=f"{count} {verdict}")
        for verdict, count in counts.items()
        if verdict not in others
    ]
