"""Rulings in words."""

from __future__ import annotations

from collections.abc import Mapping

from migration.guard.model import Action, BadCall, Rule, Signal

_WHAT = {
    Signal.ERROR: "it fails more often than legacy",
    Signal.TIMEOUT: "it runs out of patience more often than legacy",
    Signal.MISMATCH: "it does something else than legacy",
    Signal.LATENCY: "it is slower than legacy",
    Signal.STRANGER: "it fails in ways that legacy never does",
}

_DONE = {
    Action.NONE: "was only noted",
    Action.FREEZE: "is not promoted any further",
    Action.ROLLBACK: "was rolled back",
}


def sentence_for(
    migration: str, rule: Rule, action: Action, numbers: Mapping[str, float | int | str], last: BadCall | None
) -> str:
    """One sentence that says what was done, why, and on which figures."""
    return f"{migration} {_DONE[action]}: {_because(rule, numbers, last)}."


def _because(rule: Rule, numbers: Mapping[str, float | int | str], last: BadCall | None) -> str:
    errors, timeouts = _counts(numbers, "errors"), _counts(numbers, "timeouts")
    strongest = _WHAT[Signal(str(numbers["strongest"]))]
    worse = f"the evidence that the candidate is worse stands at {float(numbers['evidence']):,.0f} to 1, mostly that"
    memory = f"the process holds {float(numbers.get('memory', 0)) / 2**20:,.0f} MiB of memory"
    return {
        Rule.EVIDENCE: f"{worse} {strongest} ({errors})",
        Rule.SUSPICION: f"{worse} {strongest} ({errors})",
        Rule.INTEGRITY: "the candidate lost or changed what it was given",
        Rule.NEW_KIND: f"the candidate failed with {last.kind if last else None!r}, which legacy has never done",
        Rule.ERROR_RATE: f"the candidate fails more than five points more often ({errors})",
        Rule.TIMEOUT_RATE: f"the candidate times out more than five points more often ({timeouts})",
        Rule.MEMORY_CAP: f"{memory}, which is close to all that it may have",
        Rule.MEMORY_GROWTH: f"{memory}, far more than when legacy served everything",
    }[rule]


def _counts(numbers: Mapping[str, float | int | str], what: str) -> str:
    return (
        f"{what}: {numbers[f'candidate.{what}']} of {numbers['candidate.calls']} on the candidate, "
        f"{numbers[f'legacy.{what}']} of {numbers['legacy.calls']} on legacy"
    )
