"""Groups comparisons by what may have caused them: the same fields of the same function, different in the same way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from migration.model.model import NOT_COMPARED, ONE_SIDED, Difference, Side, Verdict
from migration.store.ledger_reader import RecordedComparison

ABSENT = "(absent)"
"""What is shown in place of a value on the side that does not have the field."""

NO_ERROR = "(no error)"
"""What is shown in place of an error on the side that did not fail."""

_INDEX = re.compile(r"\[\d+\]")
_NUMBER = re.compile(r"\d+")
_TYPE = re.compile(
    r"""
    (?P<text>['"]) | (?P<bytes>\d+\ bytes,\ sha256\ ) | (?P<int>-?\d+(?:$|\.{3}\ \() | \(a\ number\ of\ )
    | (?P<float>-?(?:\d|inf|nan)) | (?P<bool>True|False) | [\w.]+ | \(a\ .*\) | .
    """,
    re.VERBOSE | re.DOTALL,
)
_ERROR, _ERROR_TYPE, _ERROR_TEXT = "error.", "error.type", "error.text"


class DifferenceKind(StrEnum):
    """In which way a field differs."""

    ABSENT = "absent"  # only one side has it
    TYPE = "type"  # both have it, of different types
    VALUE = "value"  # both have it, with different values
    ERROR = "error"  # a side failed, or both did in different ways
    NONE = "none"  # nothing differs: the call was not compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """One field that differs, indexes left out (`requests[*].path`), with the values of one comparison."""

    field: str
    kind: DifferenceKind
    legacy: str
    candidate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Comparisons in which the same fields differ in the same way.

    Attributes:
        symptoms: the fields that always differed together, with the values of the newest comparison.
        count: how many comparisons.
        first_at: when the oldest of them was recorded, in seconds since the epoch.
        last_at: when the newest was.
        example: id of the newest.
        detail: what that one says in words.
    """

    migration: str
    function: str
    verdict: str
    symptoms: tuple[Symptom, ...]
    count: int
    first_at: float
    last_at: float
    example: int
    detail: str


def generalised(path: str) -> str:
    """A field's path without its indexes: `requests[3].parts[0].name` is `requests[*].parts[*].name`."""
    return _INDEX.sub("[*]", path)


def symptoms(verdict: str, differences: Iterable[Difference]) -> tuple[Symptom, ...]:
    """What differs, each field once. When only one side failed, everything else that differs comes of that."""
    if verdict in ONE_SIDED:
        return (_one_sided(verdict, differences),)
    found: dict[tuple[str, DifferenceKind], Symptom] = {}
    for each in differences:
        path, kind = generalised(each.field), _kind(each)
        found.setdefault((path, kind), Symptom(field=path, kind=kind, legacy=each.legacy, candidate=each.candidate))
    return tuple(found.values())


def causes(records: Sequence[RecordedComparison]) -> list[Cause]:
    """The groups, the most frequent first. A comparison in which several things differ may be in several groups.

    Args:
        records: comparisons, newest first.
    """
    groups: dict[tuple[str, ...], _Group] = {}
    for record in records:
        for symptom, key in _keyed(record):
            groups.setdefault(key, _Group(symptom)).records.append(record)

    # fields that differ in exactly the same comparisons are one cause
    together: dict[tuple[object, ...], list[_Group]] = {}
    for group in groups.values():
        newest = group.records[0]
        ids = tuple(record.id for record in group.records)
        together.setdefault((newest.migration, newest.function, newest.verdict, ids), []).append(group)
    found = [_cause(groups) for groups in together.values()]
    return sorted(found, key=lambda cause: (cause.count, cause.last_at), reverse=True)


@dataclass(slots=True)
class _Group:
    symptom: Symptom
    records: list[RecordedComparison] = field(default_factory=list)


def _keyed(record: RecordedComparison) -> list[tuple[Symptom, tuple[str, ...]]]:
    """The symptoms of a comparison, each with what makes it the same as another one's."""
    who = record.migration, record.function, record.verdict
    if record.verdict in NOT_COMPARED or not record.differences:
        why = _NUMBER.sub("*", record.detail)
        return [(Symptom(field="", kind=DifferenceKind.NONE, legacy="", candidate=""), (*who, why))]
    one_sided = record.verdict in ONE_SIDED
    telling = [each for each in record.differences if each.field not in record.noisy]
    return [
        (each, (*who, each.field, each.kind, *((_type_of_error(each.legacy + each.candidate),) if one_sided else ())))
        for each in symptoms(record.verdict, telling or record.differences)
    ]


def _cause(groups: Sequence[_Group]) -> Cause:
    records = groups[0].records
    newest, oldest = records[0], records[-1]
    return Cause(
        migration=newest.migration,
        function=newest.function,
        verdict=newest.verdict,
        symptoms=tuple(group.symptom for group in groups),
        count=len(records),
        first_at=oldest.at,
        last_at=newest.at,
        example=newest.id,
        detail=newest.detail,
    )


def _kind(difference: Difference) -> DifferenceKind:
    if ABSENT in {difference.legacy, difference.candidate}:
        return DifferenceKind.ABSENT
    if difference.field.startswith(_ERROR):
        return DifferenceKind.ERROR
    same_type = _type_of(difference.legacy) == _type_of(difference.candidate)
    return DifferenceKind.VALUE if same_type else DifferenceKind.TYPE


def _type_of(shown: str) -> str:
    """The type of a value as far as its text tells."""
    found = _TYPE.match(shown)
    return (found and (found.lastgroup or found.group())) or ""


def _one_sided(verdict: str, differences: Iterable[Difference]) -> Symptom:
    """The error of the one side that failed: its type, and its text where that is known."""
    by_field = {each.field: each for each in differences}

    def shown(side: Side) -> str:
        texts = [getattr(by_field[name], side) for name in (_ERROR_TYPE, _ERROR_TEXT) if name in by_field]
        return ": ".join(text.strip("'\"") for text in texts) if failed is side else NO_ERROR

    failed = Side.CANDIDATE if verdict == Verdict.CANDIDATE_ERROR else Side.LEGACY
    return Symptom(
        field=_ERROR_TYPE,
        kind=DifferenceKind.ERROR,
        legacy=shown(Side.LEGACY),
        candidate=shown(Side.CANDIDATE),
    )


def _type_of_error(shown: str) -> str:
    return shown.removeprefix(NO_ERROR).removesuffix(NO_ERROR).partition(":")[0]
