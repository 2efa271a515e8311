"""`shim status`: where each migration stands on this machine."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from migration import MigrationError, Side
from migration.guard import GuardStatus, GuardStore
from migration.model import StoreError
from migration.store import Ledger, Losses, MigrationStatus, SideTotals
from shim.application import Section
from shim.cli.conventions import ExitCode, JsonOption
from shim.cli.finding import NoApplicationError, application, has_command, names, settings
from shim.cli.output import finish, plain_table, print_json, printable, show_live

if TYPE_CHECKING:
    from flags import UnleashRouter

_WATCH_SECONDS = 1.0


def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again each second, until Ctrl-C.")] = False,
    json: JsonOption = False,
) -> int:
    """Show where each migration stands on this machine. With --watch, --json prints one line a second."""
    from shim.wiring import open_ledger, open_router

    ledger = open_ledger(settings())
    with closing(open_router(settings())) as router:
        if watch:
            _watch(router, ledger, as_json=json)
            return ExitCode.OK
        found = report(router, ledger)
        return finish(found.as_data(), _rendered(found), as_json=json)


def _watch(router: UnleashRouter, ledger: Ledger, *, as_json: bool) -> None:
    try:
        if as_json:
            while True:
                print_json(report(router, ledger).as_data())
                time.sleep(_WATCH_SECONDS)
        show_live(lambda: _rendered(report(router, ledger)), every=_WATCH_SECONDS)
    except KeyboardInterrupt:
        return


# As plain data


class GuardReport(TypedDict):
    """What the guard holds of one migration.

    `state` is `watching`, `frozen`, `rolled back` or `unknown`; `evidence` says how much speaks against the candidate
    (1 is nothing, 100 rolls back); `decision` is the number for `shim explain`.
    """

    state: str
    evidence: float | None
    decision: int | None
    reason: str | None
    problem: str | None
    advice: str | None


class MigrationReport(TypedDict):
    """One migration. The percentages, the reason and the error are those of a call made now."""

    migration: str
    percentage: float
    shadow_percentage: float
    reason: str
    error: str | None
    sides: dict[str, dict[str, Any]]
    verdicts: dict[str, int]
    last_decision: dict[str, Any] | None
    notices: dict[str, int]
    guard: GuardReport


class FlagsReport(TypedDict):
    """How well the flags are known; `missing` if none were made so far."""

    source: str
    location: str
    healthy: bool
    missing: bool
    age_seconds: float | None
    error: str | None


class ThreadReport(TypedDict):
    """What happened to the background threads of one name; `problem` and `age_seconds` are those of the last time."""

    thread: str
    refused: int
    died: int
    problem: str
    age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that `shim status` shows.

    Attributes:
        flags: how well the flags are known.
        lost: records of calls and comparisons that could not be written, of all processes.
        threads: background threads that the system refused to start, or that died and began again, of all processes.
        sections: what the application says of itself.
        migrations: the migrations.
    """

    flags: FlagsReport
    lost: Mapping[str, float] | None
    threads: Sequence[ThreadReport]
    sections: Mapping[str, Section]
    migrations: Sequence[MigrationReport]

    def as_data(self) -> dict[str, object]:
        """As plain data."""
        sections = {name: section.data for name, section in self.sections.items()}
        return {
            "flags": self.flags,
            "lost": self.lost,
            "threads": self.threads,
            **sections,
            "migrations": self.migrations,
        }


def report(router: UnleashRouter, ledger: Ledger) -> Report:
    """All migrations at this moment. What a file that cannot be read holds is left out; the guard's report names it.

    Raises:
        NoApplicationError: there is no application, and nothing on disk.
    """
    found, losses = names() or application().names(), _losses(ledger)
    return Report(
        flags=_flags(router),
        lost=None if losses is None else {"records": losses.records, "age_seconds": time.time() - losses.last_at},
        threads=_threads(ledger),
        sections=_sections(),
        migrations=[_migration(router, ledger, name) for name in found],
    )


def _sections() -> Mapping[str, Section]:
    try:
        extensions = application().extensions
    except NoApplicationError:
        return {}
    return {name: section for extension in extensions for name, section in extension.sections().items()}


def _losses(ledger: Ledger) -> Losses | None:
    try:
        return ledger.losses()
    except StoreError:
        return None


def _threads(ledger: Ledger) -> Sequence[ThreadReport]:
    try:
        troubles = ledger.threads()
    except StoreError:
        return []
    return [
        {
            "thread": name,
            "refused": trouble.refused,
            "died": trouble.died,
            "problem": trouble.problem,
            "age_seconds": time.time() - trouble.at,
        }
        for name, trouble in troubles.items()
    ]


def _recorded(ledger: Ledger, name: str) -> MigrationStatus:
    try:
        return ledger.status(name)
    except StoreError:
        return MigrationStatus(migration=name)


def _flags(router: UnleashRouter) -> FlagsReport:
    from shim.wiring import has_no_flags_yet

    configured, status = settings(), router.status()
    return {
        "source": status.source,
        "location": configured.unleash_url or str(configured.flags_file),
        "healthy": status.healthy,
        "missing": has_no_flags_yet(configured),
        "age_seconds": status.last_success_age,
        "error": status.error,
    }


def _migration(router: UnleashRouter, ledger: Ledger, name: str) -> MigrationReport:
    from shim.wiring import decision_now, open_guard_store

    decision, recorded = decision_now(router, name), _recorded(ledger, name)
    return {
        "migration": name,
        "percentage": decision.probability * 100,
        "shadow_percentage": decision.shadow_probability * 100,
        "reason": decision.reason.value,
        "error": decision.error,
        "sides": {side.value: _side(recorded.sides[side]) for side in Side},
        "verdicts": recorded.verdicts,
        "last_decision": None if recorded.decision is None else _last(recorded.decision),
        "notices": recorded.notices,
        "guard": guard_report(open_guard_store(settings()), name),
    }


def _side(totals: SideTotals) -> dict[str, Any]:
    return {
        "calls": totals.calls,
        "errors": totals.errors,
        "mean_seconds": totals.mean_seconds,
        "bytes": totals.bytes,
    }


def _last(decided: Mapping[str, Any]) -> dict[str, Any]:
    shown = ("serve", "reason", "error", "source", "probability")
    return {**{name: decided[name] for name in shown}, "age_seconds": time.time() - decided["at"]}


def guard_report(store: GuardStore, name: str) -> GuardReport:
    """What holds at this moment; a file that cannot be read is said, and is no error."""
    try:
        status = store.status(name)
        evidence, _ = store.recall(migration=name, epoch=status.epoch)
        number = status.held_by
        record = None if number is None else store.record(number)
    except MigrationError as error:
        return {
            "state": "unknown",
            "evidence": None,
            "decision": None,
            "reason": None,
            "problem": str(error),
            "advice": None,
        }
    return {
        "state": _state(status),
        "evidence": evidence.total,
        "decision": number,
        "reason": None if record is None else record.sentence,
        "problem": None if record is None else record.problem,
        "advice": None if number is None else _advice(status, name, number),
    }


def _state(status: GuardStatus) -> str:
    if status.tripped_by is not None:
        return "rolled back"
    return "watching" if status.frozen_by is None else "frozen"


def _advice(status: GuardStatus, name: str, number: int) -> str:
    resume = f'`shim explain {number}` says why; `shim resume {name} --because "..."` lets it go on'
    if status.tripped_by is None:
        return resume
    if has_command("audit"):
        resume = f"{resume}, `shim audit {name}` looks at what was made"
    return resume if status.carried_out else f"its flag is still to be turned off; {resume}"


# At a terminal


def _rendered(found: Report) -> RenderableType:
    migrations, missing = found.migrations, found.flags["missing"]
    rows: dict[str, list[str | Text]] = {
        "candidate share": [_share(each["percentage"], each, missing=missing) for each in migrations],
        "compared share": [_share(each["shadow_percentage"], each, missing=missing) for each in migrations],
        **{f"{side.value} served": [_served(each, side.value) for each in migrations] for side in Side},
        "verdicts": [_counts(each["verdicts"]) for each in migrations],
        "last decision": [_decision(each) for each in migrations],
        "notices": [_counts(each["notices"]) for each in migrations],
        "guard": [_guard(each["guard"]) for each in migrations],
    }
    titles = ("", *(each["migration"] for each in migrations))
    table = plain_table(titles, [(title, *cells) for title, cells in rows.items()])
    return Group(_health(found), *_lost(found), *_troubled(found), *_section_lines(found), table, *_held(migrations))


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


def _lost(found: Report) -> list[Text]:
    lost = found.lost
    if lost is None:
        return []
    return [Text(f"ledger: {lost['records']} records were lost, the last {lost['age_seconds']:.0f} s ago", "yellow")]


def _troubled(found: Report) -> list[Text]:
    return [
        Text(
            printable(
                f"thread {each['thread']}: refused {each['refused']} times, died {each['died']} times, the last"
                f" {each['age_seconds']:.0f} s ago ({each['problem']})"
            ),
            "yellow",
        )
        for each in found.threads
    ]


def _section_lines(found: Report) -> list[Text]:
    lines = [line for section in found.sections.values() for line in section.lines]
    return [Text(printable(line), "yellow" if wanting else "") for line, wanting in lines]


def _share(percentage: float, migration: MigrationReport, *, missing: bool) -> str:
    why = "no flags yet" if missing else migration["error"] or migration["reason"]
    return f"{percentage:g} % ({why})"


def _served(migration: MigrationReport, name: str) -> str:
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
    return f"{decision['serve']} ({decision['reason']}{error}), {decision['age_seconds']:.0f} s ago"
