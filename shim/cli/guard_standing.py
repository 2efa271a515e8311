"""Where the guard stands with a migration, as plain data: what holds, why, and what to do."""

from __future__ import annotations

from typing import TypedDict

from migration import MigrationError
from migration.guard import GuardStatus, GuardStore


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


def guard_report(store: GuardStore, name: str) -> GuardReport:
    """What holds at this moment; a file that cannot be read is said, and is no error."""
    try:
        standing = store.statuses().get(name, GuardStatus(migration=name))
        evidence, _ = store.recall(migration=name, epoch=standing.epoch)
        number = standing.tripped_by or standing.frozen_by
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
        "state": _state(standing),
        "evidence": evidence.total,
        "decision": number,
        "reason": None if record is None else record.sentence,
        "problem": None if record is None else record.problem,
        "advice": None if number is None else _advice(standing, name, number),
    }


def _state(standing: GuardStatus) -> str:
    if standing.tripped_by is not None:
        return "rolled back"
    return "watching" if standing.frozen_by is None else "frozen"


def _advice(standing: GuardStatus, name: str, number: int) -> str:
    resume = f'`shim explain {number}` says why; `shim resume {name} --because "..."` lets it go on'
    if standing.tripped_by is None:
        return resume
    audit = f"`shim audit {name}` looks at what was uploaded"
    return f"{resume}, {audit}" if standing.carried_out else f"its flag is still to be turned off; {resume}, {audit}"
