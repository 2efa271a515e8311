"""Compares the two sides of a call: the fields that differ, the verdict, noise, and declared rules."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, ModuleType, NoneType
from typing import Any
from uuid import UUID

from migration.model.declaration import Migration, as_is
from migration.model.errors import IncomparableFactsError, IncompleteFactsError
from migration.model.model import (
    MISMATCHES,
    Comparison,
    Difference,
    NoiseSample,
    Notice,
    NoticeKind,
    Outcome,
    Side,
    Verdict,
)
from migration.model.ports import Sent
from migration.running.observers import Observers
from migration.shadow.facts import (
    CALLERS_SECONDS,
    INCOMPLETE,
    BackReference,
    ContentDigest,
    Facts,
    flatten,
    outcome_facts,
)
from migration.shadow.isolated import Observation, Shadow
from migration.shadow.noise import NoiseBook

MAX_DIFFERENCES = 50
"""More differing fields than this are not listed one by one."""

MAX_SHOWN = 200
"""Characters of a value in a report."""

_ABSENT = object()

_MAX_SHOWN_BITS = 10_000
"""Python refuses to write out much longer numbers."""

_COMPARED_BY_TEXT = (float, complex, Decimal, date, time)
"""Types whose equal values can be written differently (1.0 and 1.00, -0.0 and 0.0, one moment in two zones)."""

_COMPARED_BY_IDENTITY = (type, Enum, FunctionType, BuiltinFunctionType, ModuleType)
"""Types of which another object is another value: there is one of each name."""

_SHOWN_TYPES = (str, int, float, complex, NoneType, Decimal, Enum, date, time, timedelta, PurePath, UUID)

Cleaner = Callable[[str, object], object]
"""Turns a field and its value into what a report may show."""


def request_facts(seen: Sequence[Mapping[str, object]]) -> Facts:
    """What is compared of the requests of a replay."""
    return {"requests.count": len(seen), **flatten("requests", list(seen))}


def differences(
    legacy: Facts, candidate: Facts, masked: Iterable[str] = (), clean: Cleaner = as_is
) -> tuple[Difference, ...]:
    """The fields that differ, without masked ones; their values as `clean` shows them.

    Raises:
        IncomparableFactsError: whether a field differs cannot be told.
    """
    patterns = tuple(masked)
    found: list[Difference] = []
    fields = dict.fromkeys([*legacy, *candidate])
    for field in sorted(fields, key=lambda field: not field.startswith("error.")):  # an error explains the rest
        left, right = legacy.get(field, _ABSENT), candidate.get(field, _ABSENT)
        doubt = _doubt(left, right)
        if doubt == "" or _matches(field, patterns):
            continue
        if doubt is not None:
            raise IncomparableFactsError(f"{field} ({type(left).__qualname__}) {doubt}")
        if len(found) == MAX_DIFFERENCES:
            found.append(Difference(field="...", legacy="more fields differ", candidate="more fields differ"))
            break
        found.append(
            Difference(field=field, legacy=_cleaned(clean, field, left), candidate=_cleaned(clean, field, right))
        )
    return tuple(found)


def masked_fields(facts: Facts, masked: Iterable[str]) -> tuple[str, ...]:
    """The fields that a mask excludes from the comparison."""
    patterns = tuple(masked)
    return tuple(field for field in facts if _matches(field, patterns))


def unused_masks(facts: Facts, masked: Iterable[str]) -> tuple[str, ...]:
    """The masks that match no field."""
    return tuple(pattern for pattern in masked if not any(_matches(field, [pattern]) for field in facts))


def shown(value: object) -> str:
    """A value for a report: short; length and digest of bytes; only the name of an unknown type."""
    if value is _ABSENT:
        return "(absent)"
    if isinstance(value, bytes):
        value = ContentDigest(length=len(value), sha256=hashlib.sha256(value).hexdigest())
    if isinstance(value, ContentDigest | BackReference):
        return str(value)
    if isinstance(value, int) and value.bit_length() > _MAX_SHOWN_BITS:
        return f"(a number of {value.bit_length()} bits)"
    if not isinstance(value, _SHOWN_TYPES) and not (isinstance(value, dict | list) and not value):
        return f"(a {type(value).__name__})"  # its text could reveal anything
    return _shortened(value)


def _shortened(value: object) -> str:
    if isinstance(value, str) and len(value) > MAX_SHOWN:
        return f"{value[:MAX_SHOWN]!r}... ({len(value)} characters)"
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text)} characters)"


def _cleaned(clean: Cleaner, field: str, value: object) -> str:
    if value is _ABSENT:
        return shown(value)
    try:
        return shown(clean(field, value))
    except Exception as error:  # noqa: BLE001  # a declared function may fail in any way
        return f"(not shown: cleaning it failed with {type(error).__name__})"


def _matches(field: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(field, pattern.replace("[", "[[]")) for pattern in patterns)  # [0] is an index here


def _doubt(left: object, right: object) -> str | None:
    """Empty if both are the same, None if they differ, else why that cannot be told."""
    if type(left) is not type(right) or left is _ABSENT or right is _ABSENT:
        return None
    if isinstance(left, _COMPARED_BY_TEXT):
        return "" if str(left) == str(right) else None
    try:
        equal = left == right
        if hasattr(type(equal), "__len__"):
            return "has more than one answer when it is compared"
        if equal:
            return ""
    except Exception as error:  # noqa: BLE001  # a class may compare in any way
        return f"fails with {type(error).__name__} when it is compared"
    return "equals only itself" if _equals_itself_only(left) and _equals_itself_only(right) else None


def _equals_itself_only(value: object) -> bool:
    """Whether a value, or something in a set, would not even equal a copy of itself."""
    if isinstance(value, frozenset | tuple):  # of a set, and its members; see `_snapshot`
        return any(map(_equals_itself_only, value))
    return type(value).__eq__ is object.__eq__ and not isinstance(value, _COMPARED_BY_IDENTITY)


# The verdict, and the rules that excuse a mismatch


def judged(
    migration: Migration, legacy: tuple[Outcome[Any], Sent], candidate: tuple[Outcome[Any], Sent]
) -> dict[str, Any]:
    """The `verdict`, `differences`, `masked` and `unused_masks` of a comparison.

    Args:
        migration: declares what is compared.
        legacy: how legacy ended, and the requests that it sent.
        candidate: likewise.

    Raises:
        IncompleteFactsError: what was compared is the same, but that was not everything.
    """
    facts, other = (
        {**outcome_facts(migration, outcome), **request_facts(sent)} for outcome, sent in (legacy, candidate)
    )
    return judged_facts(migration, facts, other)


def judged_facts(migration: Migration, facts: Facts, other: Facts) -> dict[str, Any]:
    """As `judged`, of all facts of legacy and all facts of the candidate.

    Raises:
        IncompleteFactsError: what was compared is the same, but that was not everything.
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


# The comparison of a call whose sides have run again


class Runs:
    """The further runs of a call by side; legacy may have two."""

    def __init__(self) -> None:
        self._runs: dict[Side, list[Observation]] = {side: [] for side in Side}

    def add(self, side: Side, run: Observation) -> None:
        """Add a run."""
        self._runs[side].append(run)

    def __getitem__(self, side: Side) -> Observation:
        return self._runs[side][0]

    @property
    def again(self) -> Observation | None:
        """The second run of legacy."""
        return self._runs[Side.LEGACY][1] if len(self._runs[Side.LEGACY]) > 1 else None


def learned(shadow: Shadow, runs: Runs) -> NoiseSample | None:
    """In which fields the candidate, and legacy itself, differed from legacy's first run.

    None if legacy did not run twice, and if the runs did not all end alike or differ in too many fields to list.
    """
    again = runs.again
    if again is None:
        return None
    ended = runs[Side.LEGACY], runs[Side.CANDIDATE], again
    if len({run.outcome.error is None for run in ended}) > 1:
        return None
    first, candidate, second = (_facts(shadow, run) for run in ended)
    masked = shadow.migration.masked
    found = [differences(first, other, masked) for other in (candidate, second)]
    if any(len(each) > MAX_DIFFERENCES for each in found):
        return None
    by_candidate, by_legacy = (tuple(difference.field for difference in each) for each in found)
    return NoiseSample(candidate=by_candidate, legacy=by_legacy)


def compared(
    shadow: Shadow, runs: Runs, sample: NoiseSample | None, noise: NoiseBook, observers: Observers
) -> Comparison:
    """The comparison of both sides; `DROPPED` if the side that served did not do the same again."""
    migration, served, other = shadow.migration, runs[shadow.side], runs[shadow.side.other]
    unfaithful = differences(shadow.facts, outcome_facts(migration, served.outcome), migration.masked, migration.clean)
    if set(_fields(unfaithful)) - set(_noisy(shadow, unfaithful, noise)):
        detail = f"{shadow.side} did not do the same again: {', '.join(_fields(unfaithful))}"
        if shadow.late:
            detail = f"{too_large(shadow)}, or {detail}"
        return shadow.comparison(Verdict.DROPPED, differences=unfaithful, noise=sample, detail=detail)
    legacy, candidate = ((runs[side].outcome, runs[side].sent) for side in Side)
    comparison = shadow.comparison(
        **judged(migration, legacy, candidate),
        noise=sample,
        shadow_seconds=other.outcome.seconds,
        shadow_trace=other.trace,
    )
    return with_rules_applied(migration, _with_noise_named(shadow, comparison, noise), observers)


def too_large(shadow: Shadow) -> str:
    """Why a difference to the primary's result may be nothing but its caller's doing."""
    return (
        f"the result takes more than {CALLERS_SECONDS * 1000:g} ms to be taken apart (declare `facts=` that say what "
        f"of it has to be the same), and {shadow.call.site.function} may have changed it since"
    )


def _with_noise_named(shadow: Shadow, comparison: Comparison, noise: NoiseBook) -> Comparison:
    """The comparison with its noisy fields named; `NOISY` if only these differ."""
    noisy = _noisy(shadow, comparison.differences, noise)
    only_noise = comparison.verdict is Verdict.DIFFERENT and len(noisy) == len(comparison.differences)
    return replace(comparison, noisy=noisy, verdict=Verdict.NOISY if only_noise else comparison.verdict)


def _noisy(shadow: Shadow, found: tuple[Difference, ...], noise: NoiseBook) -> tuple[str, ...]:
    if not found:
        return ()
    known = noise.noisy_fields(shadow.call.migration, shadow.call.function)
    return tuple(field for field in _fields(found) if field in known)


def _fields(found: tuple[Difference, ...]) -> tuple[str, ...]:
    return tuple(difference.field for difference in found)


def _facts(shadow: Shadow, run: Observation) -> Facts:
    facts: Mapping[str, object] = outcome_facts(shadow.migration, run.outcome)
    return {**facts, **request_facts(run.sent)}
