"""`shim decisions`, `explain`, `replay` and `resume`: what the guard has decided, why, and how to go on."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migration.guard import FREEZE_AT, ROLLBACK_AT, DecisionRecord, replay_evidence, replay_rules
from migration.rollout import replay_step
from shim.cli.errors import CommandError
from shim.cli.exits import ExitCode
from shim.cli.output import print_json, printable, say
from shim.process import who_acts
from shim.wiring import open_guard_store
from tools.migrations import NAMES
from tools.settings import get_settings

PLOT_HEIGHT = 8
PLOT_WIDTH = 60
_AT_ONCE = 0.05
"""Seconds within which a flag that was changed was so by the decision itself."""

_SAME = 1e-9
"""Relative difference that two ways of adding the same numbers may have."""


def run(name: str | None, *, limit: int, as_json: bool) -> int:
    """List decisions, newest first."""
    records = open_guard_store(get_settings()).records(_known(name), limit=limit)
    if as_json:
        print_json([_as_data(record) for record in records])
    elif records:
        _print_table(records)
    else:
        say("Nothing has been decided: no rollout was promoted, frozen or rolled back, and no flag was changed here.")
    return ExitCode.OK


def explain(number: int, *, as_json: bool) -> int:
    """Show one decision with its figures, its bad calls, and how the evidence came about."""
    record = _record(number)
    path = replay_evidence(record.start, record.calls) if record.start and not record.is_of_rollout else []
    if as_json:
        print_json({**_as_data(record), "evidence_over_calls": path})
        return ExitCode.OK
    say(record.sentence)
    say(f"{_when(record)}, by {record.by}; the flag: {_flag(record)}")
    for name, value in record.numbers.items():
        say(f"  {name:<20} {value:,.4g}" if isinstance(value, float) else f"  {name:<20} {value}")
    if path:
        say(f"\nEvidence that the candidate is worse, over the last {len(path) - 1} bad calls (log scale)")
        say(plot(path))
        say("\nThe latest of them")
        for call in record.calls[-10:]:
            side = "candidate" if call.on_candidate else "legacy"
            say(f"  {_clock(call.at)}  {side:<9} {call.kind or ', '.join(sorted(call.signals)):<16} {call.trace or ''}")
    return ExitCode.OK


def replay(number: int, *, as_json: bool) -> int:
    """Compute a decision anew from what was recorded; fails if it comes out differently."""
    record = _record(number)
    if record.start is None:
        again = _word_anew(record)
    else:
        again = _rollout_anew(record) if record.is_of_rollout else _evidence_anew(record)
    if as_json:
        print_json({"id": number, "recorded": again.recorded, "computed": again.computed, "agrees": again.agrees})
    else:
        say(
            f"Decision {number}: recorded {again.words.format(again.recorded)}, computed anew from {again.source} "
            f"{again.words.format(again.computed)}: {'the same' if again.agrees else 'NOT the same'}{again.why}."
        )
    return ExitCode.OK if again.agrees else ExitCode.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class _Again:
    """A decision as it was recorded, and as it comes out again.

    Attributes:
        recorded: what the record says.
        computed: what follows from what was recorded with it.
        agrees: whether that is the same.
        source: from what it was computed.
        words: how either is printed.
        why: what else is to be said of it.
    """

    recorded: float | str
    computed: float | str
    agrees: bool
    source: str
    words: str
    why: str = ""


def _evidence_anew(record: DecisionRecord) -> _Again:
    start = record.start or {}
    recorded, computed = float(record.numbers["evidence"]), replay_evidence(start, record.calls)[-1]
    is_met = record.rule in replay_rules(start, record.calls, record.numbers)
    return _Again(
        recorded=recorded,
        computed=computed,
        agrees=is_met and abs(recorded - computed) <= _SAME * max(recorded, computed),
        why=f", the rule `{record.rule}` is met" if is_met else f", the rule `{record.rule}` is not met",
        source=f"{len(record.calls)} bad calls",
        words="evidence {:.6g}",
    )


def _word_anew(record: DecisionRecord) -> _Again:
    """What somebody said follows from nothing else, so it comes out as it is recorded."""
    return _Again(
        recorded=record.action,
        computed=record.action,
        agrees=True,
        source=f"what {record.by} said",
        words="{!r}",
    )


def _rollout_anew(record: DecisionRecord) -> _Again:
    step = replay_step(record.start or {})
    # the sentence is not compared: another version may have worded it otherwise
    same_grounds = (step.reason, step.numbers) == (record.rule, record.numbers)
    return _Again(
        recorded=record.action,
        computed=step.move.value,
        agrees=step.move.value == record.action and same_grounds,
        source=f"where the rollout stood and {len(record.numbers)} figures",
        words="{!r}",
    )


def resume(name: str, *, because: str, as_json: bool) -> int:
    """Let the flags decide again about a migration that was rolled back or frozen; evidence begins anew.

    Raises:
        CommandError: nothing holds it, or no such migration is declared.
    """
    store = open_guard_store(get_settings())
    status = store.statuses().get(str(_known(name)))
    if status is None or (status.tripped_by is None and status.frozen_by is None):
        raise CommandError(f"{name} is neither rolled back nor frozen; there is nothing to resume")
    by = who_acts()
    sentence = f"{name} was resumed by {by}: {because}."
    record = DecisionRecord(at=time.time(), migration=name, action="resume", by=by, sentence=sentence)
    number = store.release(record)
    if as_json:
        print_json({"id": number, "migration": name, "sentence": sentence})
    else:
        say(sentence)
        say(f"Its flag stays as it is; `shim flags on {name}` turns it on.")
    return ExitCode.OK


def plot(values: Sequence[float]) -> str:
    """Evidence over bad calls as text, with lines at the thresholds."""
    logs = [math.log10(max(value, 1e-3)) for value in _thinned(values)]
    top = max(*logs, math.log10(ROLLBACK_AT)) + 0.2
    bottom = min(*logs, 0.0)
    rows = []
    for row in range(PLOT_HEIGHT, -1, -1):
        level, step = bottom + (top - bottom) * row / PLOT_HEIGHT, (top - bottom) / PLOT_HEIGHT
        marks = [(FREEZE_AT, "freeze"), (ROLLBACK_AT, "roll back")]
        label = next((word for mark, word in marks if abs(math.log10(mark) - level) <= step / 2), "")
        line = "".join("*" if abs(log - level) <= step / 2 else ("-" if label else " ") for log in logs)
        rows.append(f"{10**level:>10,.3g} |{line:<{len(logs)}} {label}".rstrip())
    return "\n".join(rows)


def _thinned(values: Sequence[float]) -> list[float]:
    """At most as many as there is room for, the last one always."""
    step = max(1, -(-len(values) // PLOT_WIDTH))
    return [values[index] for index in range((len(values) - 1) % step, len(values), step)]


def _known(name: str | None) -> str | None:
    if name is not None and name not in NAMES:
        raise CommandError(f"no migration is called {name!r}; there are {', '.join(NAMES)}", ExitCode.USAGE)
    return name


def _record(number: int) -> DecisionRecord:
    record = open_guard_store(get_settings()).record(number)
    if record is None:
        raise CommandError(f"there is no decision {number}; `shim decisions` lists them")
    return record


def _as_data(record: DecisionRecord) -> dict[str, object]:
    document = asdict(record)
    document["start"] = None if record.start is None else dict(record.start)
    document["calls"] = [{**call, "signals": sorted(call["signals"])} for call in document["calls"]]
    return document


def _print_table(records: Sequence[DecisionRecord]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("id", "when", "decision", "the flag", "why"):
        table.add_column(title, overflow="fold", no_wrap=title in {"id", "when"})
    for record in records:
        style = {"rollback": "red", "off": "red", "freeze": "yellow"}.get(record.action, "")
        table.add_row(
            str(record.id), _when(record), Text(record.action, style), _flag(record), Text(printable(record.sentence))
        )
    Console(highlight=False).print(table)


def _flag(record: DecisionRecord) -> str:
    if record.carried_out_at is not None:
        seconds = record.carried_out_at - record.at
        return "changed" if seconds < _AT_ONCE else f"changed {seconds:.1f} s later"
    if record.problem:
        return f"not changed: {printable(record.problem)}"
    return "to be changed" if record.action == "rollback" else "left alone"


def _when(record: DecisionRecord) -> str:
    return datetime.fromtimestamp(record.at).astimezone().isoformat(" ", "seconds")[:19]


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")
