"""`shim status`: where each migration stands on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from flags import UnleashRouter
from migration.store import Ledger
from shim.cli.exits import ExitCode
from shim.cli.guard_standing import GuardReport
from shim.cli.live_view import show_live
from shim.cli.output import print_json, printable
from shim.cli.standing import MigrationReport, Report, report
from shim.settings import get_settings
from shim.wiring import open_ledger, open_router

_WATCH_SECONDS = 1.0
_LABELS = {"legacy": "legacy", "candidate": "async"}


def run(*, watch: bool, as_json: bool) -> int:
    """Show it once, or each second until interrupted, which is the orderly end."""
    settings = get_settings()
    ledger = open_ledger(settings)
    with closing(open_router(settings)) as router:
        if watch:
            _watch(router, ledger, as_json=as_json)
        elif as_json:
            print_json(report(router, ledger).as_data())
        else:
            Console(highlight=False).print(_rendered(report(router, ledger)))
    return ExitCode.OK


def _watch(router: UnleashRouter, ledger: Ledger, *, as_json: bool) -> None:
    try:
        if as_json:
            while True:
                print_json(report(router, ledger).as_data())
                time.sleep(_WATCH_SECONDS)
        show_live(lambda: _rendered(report(router, ledger)), every=_WATCH_SECONDS)
    except KeyboardInterrupt:
        return


def _rendered(found: Report) -> RenderableType:
    migrations, missing = found.migrations, found.flags["missing"]
    table = Table("", *(each["migration"] for each in migrations), box=None, header_style="bold")
    table.add_row("async share", *(_share(each["percentage"], each, missing=missing) for each in migrations))
    table.add_row("compared share", *(_share(each["shadow_percentage"], each, missing=missing) for each in migrations))
    for side, label in _LABELS.items():
        table.add_row(f"{label} served", *(_side(each, side) for each in migrations))
    table.add_row("verdicts", *(_counts(each["verdicts"]) for each in migrations))
    table.add_row("last decision", *(_decision(each) for each in migrations))
    table.add_row("notices", *(_counts(each["notices"]) for each in migrations))
    table.add_row("guard", *(_guard(each["guard"]) for each in migrations))
    return Group(_health(found), *_losses(found), *_sections(found), table, *_held(migrations))


def _guard(guard: GuardReport) -> Text:
    style = {"watching": "green", "rolled back": "red"}.get(guard["state"], "yellow")
    evidence = "" if guard["evidence"] is None else f" (evidence {guard['evidence']:,.3g} to 1)"
    return Text(guard["state"] + evidence, style)


def _held(migrations: Sequence[MigrationReport]) -> list[Text]:
    """A line for each thing that the guard has to say, with what to do."""
    guards = [each["guard"] for each in migrations]
    lines = [guard[key] for guard in guards for key in ("reason", "problem", "advice")]
    return [Text(printable(line), "yellow") for line in dict.fromkeys(lines) if line]


def _health(found: Report) -> Text:
    flags = found.flags
    if flags["missing"]:
        return Text("flags: none yet, legacy serves every call; `shim flags create` makes them", "yellow")
    if flags["error"]:
        return Text(f"flags: {flags['error']}; legacy serves what they do not decide", "yellow")
    age = "never confirmed" if flags["age_seconds"] is None else f"confirmed {flags['age_seconds']:.1f} s ago"
    return Text(f"flags: {flags['location']}, {age}", "green" if flags["healthy"] else "yellow")


def _losses(found: Report) -> list[Text]:
    lost = found.lost
    if lost is None:
        return []
    return [Text(f"ledger: {lost['records']} records were lost, the last {lost['age_seconds']:.0f} s ago", "yellow")]


def _sections(found: Report) -> list[Text]:
    lines = [line for section in found.sections.values() for line in section.lines]
    return [Text(printable(line), "yellow" if wanting else "") for line, wanting in lines]


def _share(percentage: float, migration: MigrationReport, *, missing: bool) -> str:
    why = "no flags yet" if missing else migration["error"] or migration["reason"]
    return f"{percentage:g} % ({why})"


def _side(migration: MigrationReport, name: str) -> str:
    side = migration["sides"][name]
    if side["mean_seconds"] is None:
        return "-"
    errors = _counts(side["errors"]) if side["errors"] else "no errors"
    return f"{side['calls']} calls, {errors}, {side['mean_seconds'] * 1000:.0f} ms on average"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "-"


def _decision(migration: MigrationReport) -> str:
    decision = migration["last_decision"]
    if decision is None:
        return "-"
    error = f", {decision['error']}" if decision["error"] else ""
    return f"{_LABELS[decision['serve']]} ({decision['reason']}{error}), {decision['age_seconds']:.0f} s ago"
