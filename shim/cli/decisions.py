"""`shim decisions`, `explain`, `replay` and `resume`: what was decided, why, and how to go on."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from migration.guard import FREEZE_AT, ROLLBACK_AT, DecisionRecord, GuardStore, replay_evidence, replay_rules
from migration.rollout import replay_step
from shim.cli.conventions import CommandError, ExitCode, JsonOption, MigrationName, OneMigration
from shim.cli.finding import known, settings
from shim.cli.output import clock, finish, local_time, plain_table
from shim.process import who_acts

PLOT_HEIGHT = 8
PLOT_WIDTH = 60
_AT_ONCE = 0.05
"""Seconds within which a flag that was changed was so by the decision itself."""

_SAME = 1e-9
"""Relative difference that two ways of adding the same numbers may have."""

Number = Annotated[int, typer.Argument(metavar="ID", help="Its number in `shim decisions`.")]


def decisions(
    name: OneMigration = None,
    *,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 20,
    json: JsonOption = False,
) -> int:
    """List what was decided, when, by whom and why. Promotions, freezes, rollbacks, and flags that `shim` changed."""
    records = _store().records(None if name is None else known(name), limit=limit)
    none = "Nothing has been decided: no rollout was promoted, frozen or rolled back, and no flag was changed here."
    return finish([_as_data(record) for record in records], _table(records) if records else none, as_json=json)


def explain(number: Number, *, json: JsonOption = False) -> int:
    """Show one decision with its figures. Also the calls behind it, and the evidence over time."""
    record = _record(number)
    path = replay_evidence(record.start, record.calls) if record.start and not record.is_of_rollout else []
    lines = [record.sentence, f"{local_time(record.at)}, by {record.by}; the flag: {_flag(record)}"]
    for name, value in record.numbers.items():
        lines.append(f"  {name:<20} {value:,.4g}" if isinstance(value, float) else f"  {name:<20} {value}")
    if path:
        lines.append(f"\nEvidence that the candidate is worse, over the last {len(path) - 1} bad calls (log scale)")
        lines += [plot(path), "\nThe latest of them"]
    for call in record.calls[-10:] if path else ():
        side = "candidate" if call.on_candidate else "legacy"
        kind = call.kind or ", ".join(sorted(call.signals))
        lines.append(f"  {clock(call.at)}  {side:<9} {kind:<16} {call.trace or ''}")
    return finish({**_as_data(record), "evidence_over_calls": path}, *lines, as_json=json)


def replay(number: Number, *, json: JsonOption = False) -> int:
    """Compute a decision again from what was recorded. Fails if it comes out differently."""
    record = _record(number)
    if record.start is None:
        again = _word_again(record)
    else:
        again = _rollout_again(record) if record.is_of_rollout else _evidence_again(record)
    document = {"id": number, "recorded": again.recorded, "computed": again.computed, "agrees": again.agrees}
    sentence = (
        f"Decision {number}: recorded {again.words.format(again.recorded)}, computed again from {again.source} "
        f"{again.words.format(again.computed)}: {'the same' if again.agrees else 'NOT the same'}{again.why}."
    )
    return finish(document, sentence, as_json=json, code=ExitCode.OK if again.agrees else ExitCode.FAILED)


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


def _evidence_again(record: DecisionRecord) -> _Again:
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


def _word_again(record: DecisionRecord) -> _Again:
    """What a person said follows from nothing else, so it comes out as it is recorded."""
    return _Again(
        recorded=record.action,
        computed=record.action,
        agrees=True,
        source=f"what {record.by} said",
        words="{!r}",
    )


def _rollout_again(record: DecisionRecord) -> _Again:
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


def resume(
    name: MigrationName,
    *,
    because: Annotated[str, typer.Option(metavar="REASON", help="Why it is safe to go on.")],
    json: JsonOption = False,
) -> int:
    """Let a migration go on that was rolled back or frozen. Its flags decide again, and evidence starts at nothing."""
    store = _store()
    if store.status(known(name)).held_by is None:
        raise CommandError(f"{name} is neither rolled back nor frozen; there is nothing to resume")
    by = who_acts()
    sentence = f"{name} was resumed by {by}: {because}."
    record = DecisionRecord(at=time.time(), migration=name, action="resume", by=by, sentence=sentence)
    number = store.release(record)
    hint = f"Its flag stays as it is; `shim flags on {name}` turns it on."
    return finish({"id": number, "migration": name, "sentence": sentence}, sentence, hint, as_json=json)


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


def _store() -> GuardStore:
    from shim.wiring import open_guard_store

    return open_guard_store(settings())


def _record(number: int) -> DecisionRecord:
    record = _store().record(number)
    if record is None:
        raise CommandError(f"there is no decision {number}; `shim decisions` lists them")
    return record


def _as_data(record: DecisionRecord) -> dict[str, object]:
    document = asdict(record)
    document["start"] = None if record.start is None else dict(record.start)
    document["calls"] = [{**call, "signals": sorted(call["signals"])} for call in document["calls"]]
    return document


def _table(records: Sequence[DecisionRecord]) -> Table:
    styles = {"rollback": "red", "off": "red", "freeze": "yellow"}
    rows = [
        (
            str(record.id),
            local_time(record.at),
            Text(record.action, styles.get(record.action, "")),
            _flag(record),
            record.sentence,
        )
        for record in records
    ]
    return plain_table(("id", "when", "decision", "the flag", "why"), rows, whole=("id", "when"))


def _flag(record: DecisionRecord) -> str:
    if record.carried_out_at is not None:
        seconds = record.carried_out_at - record.at
        return "changed" if seconds < _AT_ONCE else f"changed {seconds:.1f} s later"
    if record.problem:
        return f"not changed: {record.problem}"
    return "to be changed" if record.action == "rollback" else "left alone"
