"""Judges what both sides of a call did: the verdict, and whether a declared rule excuses a mismatch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from migration.model.declaration import Migration
from migration.model.errors import IncompleteFactsError
from migration.model.model import Comparison, Difference, Notice, NoticeKind, Outcome, Verdict
from migration.model.ports import Sent
from migration.running.observers import Observers
from migration.shadow.compare import differences, masked_fields, outcome_facts, request_facts, unused_masks
from migration.shadow.facts import INCOMPLETE, Facts

MISMATCHES = frozenset({Verdict.DIFFERENT, Verdict.CANDIDATE_ERROR, Verdict.LEGACY_ERROR})
"""The verdicts that say that both sides did not do the same."""


def judged(
    migration: Migration, legacy: tuple[Outcome[Any], Sent], candidate: tuple[Outcome[Any], Sent]
) -> dict[str, Any]:
    """What a comparison says of both sides: its `verdict`, `differences`, `masked` and `unused_masks`.

    Args:
        migration: says what is compared.
        legacy: how legacy ended, and the requests that it sent.
        candidate: likewise.

    Raises:
        IncompleteFactsError: nothing differs in what was compared, but that was not everything.
    """
    facts, other = (
        {**outcome_facts(migration, outcome), **request_facts(sent)} for outcome, sent in (legacy, candidate)
    )
    return judged_facts(migration, facts, other)


def judged_facts(migration: Migration, facts: Facts, other: Facts) -> dict[str, Any]:
    """As `judged`, of all facts of legacy and all facts of the candidate.

    Raises:
        IncompleteFactsError: nothing differs in what was compared, but that was not everything.
    """
    found = differences(facts, other, migration.masked, migration.clean)
    return {
        "verdict": _verdict(facts, other, found),
        "differences": found,
        "masked": masked_fields({**facts, **other}, migration.masked),
        "unused_masks": unused_masks({**facts, **other}, migration.masked),
    }


def with_rules_applied(migration: Migration, comparison: Comparison, observers: Observers) -> Comparison:
    """The comparison; as `IGNORED`, with the rule's name, if it is a mismatch that one of `migration.ignore` excuses.

    A rule that raises excuses nothing, and a notice says so.
    """
    if comparison.verdict not in MISMATCHES:
        return comparison
    for name, excuses in migration.ignore.items():
        try:
            excused = excuses(comparison)
        except Exception as error:  # noqa: BLE001  # a declared function may fail in any way
            text = f"the rule {name!r} of `ignore` failed with {type(error).__name__}: it excused nothing"
            observers.noticed(Notice(kind=NoticeKind.DECLARATION_FAILED, migration=migration.name, text=text))
            continue
        if excused:
            return replace(comparison, verdict=Verdict.IGNORED, detail=f"{name} ({comparison.verdict})")
    return comparison


def _verdict(legacy: Facts, candidate: Facts, found: tuple[Difference, ...]) -> Verdict:
    failed, other_failed = ("error.type" in facts for facts in (legacy, candidate))
    if other_failed and not failed:
        return Verdict.CANDIDATE_ERROR
    if failed and not other_failed:
        return Verdict.LEGACY_ERROR
    if found:
        return Verdict.DIFFERENT
    if INCOMPLETE in legacy:
        raise IncompleteFactsError(str(legacy[INCOMPLETE]))
    return Verdict.SAME_ERROR if failed else Verdict.IDENTICAL
