"""Says in which fields two sides of a call differ."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import PurePath
from types import NoneType
from typing import Any
from uuid import UUID

from migration.model.declaration import Migration, as_is
from migration.model.model import Difference, Outcome
from migration.shadow.facts import Again, Digest, Facts, flatten

MAX_DIFFERENCES = 50
"""More differing fields than this are not listed one by one."""

MAX_SHOWN = 200
"""Characters of a value that a report shows."""

_ABSENT = object()

_MAX_SHOWN_BITS = 10_000
"""Python itself refuses to write out much longer numbers."""

_TELLING = (float, complex, Decimal, date, time)
"""Types of which equal values can look different (1.0 and 1.00, -0.0 and 0.0, one moment in two zones)."""

_SHOWN_TYPES = (str, int, float, complex, NoneType, Decimal, Enum, date, time, timedelta, PurePath, UUID)

Cleaner = Callable[[str, object], object]
"""Makes of a field and its value what a report may show."""


def outcome_facts(migration: Migration, outcome: Outcome[Any]) -> Facts:
    """What of an outcome is compared: the declared facts of a result, or type, text and kind of an exception."""
    error = outcome.error
    if error is None:
        return flatten("result", migration.facts(outcome.value))
    return {
        "error.type": type(error).__name__,
        "error.text": str(error),
        "error.kind": str(migration.taxonomy.kind_of(error)),
    }


def request_facts(seen: Sequence[Mapping[str, object]]) -> Facts:
    """What of the requests of a rehearsal is compared."""
    return {"requests.count": len(seen), **flatten("requests", list(seen))}


def differences(
    legacy: Facts, candidate: Facts, masked: Iterable[str] = (), clean: Cleaner = as_is
) -> tuple[Difference, ...]:
    """The fields that differ, masked ones left out; their values as `clean` lets them be shown."""
    patterns = tuple(masked)
    found: list[Difference] = []
    fields = dict.fromkeys([*legacy, *candidate])
    for field in sorted(fields, key=lambda field: not field.startswith("error.")):  # an error explains the rest
        left, right = legacy.get(field, _ABSENT), candidate.get(field, _ABSENT)
        if _same(left, right) or _matches(field, patterns):
            continue
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
    """The masks that name no field: a mistake, or a field that is gone."""
    return tuple(pattern for pattern in masked if not any(_matches(field, [pattern]) for field in facts))


def shown(value: object) -> str:
    """A value as a report shows it: short, of bytes nothing but length and digest, of unknown types only the name."""
    if value is _ABSENT:
        return "(absent)"
    if isinstance(value, bytes):
        value = Digest(length=len(value), sha256=hashlib.sha256(value).hexdigest())
    if isinstance(value, Digest | Again):
        return str(value)
    if isinstance(value, int) and value.bit_length() > _MAX_SHOWN_BITS:
        return f"(a number of {value.bit_length()} bits)"
    if not isinstance(value, _SHOWN_TYPES) and not (isinstance(value, dict | list) and not value):
        return f"(a {type(value).__name__})"  # what its text would reveal is not known
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
    except Exception as error:  # noqa: BLE001  # a declared function may fail in any way; then nothing is shown
        return f"(not shown: cleaning it failed with {type(error).__name__})"


def _matches(field: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(field, pattern.replace("[", "[[]")) for pattern in patterns)  # [0] is an index here


def _same(left: object, right: object) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, _TELLING):
        return str(left) == str(right)
    return bool(left == right)
