"""Says in which fields two sides of a call differ."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import PurePath
from types import NoneType
from typing import Any
from uuid import UUID

from migration._declaration import Migration
from migration._model import Difference, Outcome

MAX_DIFFERENCES = 50
"""More differing fields than this are not listed one by one."""

MAX_SHOWN = 200
"""Characters of a value that a report shows."""

_ABSENT = object()

_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*")

_SHOWN_TYPES = (str, int, float, complex, NoneType, Decimal, Enum, date, time, timedelta, PurePath, UUID)

Facts = Mapping[str, object]
"""Compared fields by their path, flat: `result.filename`, `requests[0].path`, `requests[0].query.'a.b'`."""


def outcome_facts(migration: Migration, outcome: Outcome[Any]) -> Facts:
    """What of an outcome is compared: the declared facts of a result, or type and text of an exception."""
    if outcome.error is not None:
        return {"error.type": type(outcome.error).__name__, "error.text": str(outcome.error)}
    return dict(_flatten("result", migration.facts(outcome.value)))


def request_facts(seen: Sequence[Mapping[str, object]]) -> Facts:
    """What of the requests of a rehearsal is compared."""
    return {"requests.count": len(seen), **dict(_flatten("requests", list(seen)))}


def differences(legacy: Facts, candidate: Facts, masked: Iterable[str] = ()) -> tuple[Difference, ...]:
    """The fields that differ, masked ones left out."""
    patterns = tuple(masked)
    found: list[Difference] = []
    for field in [*legacy, *(field for field in candidate if field not in legacy)]:
        left, right = legacy.get(field, _ABSENT), candidate.get(field, _ABSENT)
        if _same(left, right) or _matches(field, patterns):
            continue
        if len(found) == MAX_DIFFERENCES:
            found.append(Difference(field="...", legacy="more fields differ", candidate="more fields differ"))
            break
        found.append(Difference(field=field, legacy=shown(left), candidate=shown(right)))
    return tuple(found)


def masked_fields(facts: Facts, masked: Iterable[str]) -> tuple[str, ...]:
    """The fields that a mask excludes from the comparison."""
    patterns = tuple(masked)
    return tuple(field for field in facts if _matches(field, patterns))


def shown(value: object) -> str:
    """A value as a report shows it: short, of bytes nothing but length and digest, of unknown types only the name."""
    if value is _ABSENT:
        return "(absent)"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes, sha256 {hashlib.sha256(value).hexdigest()[:16]}"
    if not isinstance(value, _SHOWN_TYPES) and not (isinstance(value, dict | list) and not value):
        return f"(a {type(value).__name__})"  # what its text would reveal is not known
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text)} characters)"


def _matches(field: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(field, pattern.replace("[", "[[]")) for pattern in patterns)  # [0] is an index here


def _same(left: object, right: object) -> bool:
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right):
        return True
    return type(left) is type(right) and left == right


def _flatten(path: str, value: object) -> Iterable[tuple[str, object]]:
    if isinstance(value, Mapping):
        if not value:
            yield path, {}
        for key, inner in value.items():
            yield from _flatten(f"{path}.{_name(key)}", inner)
    elif isinstance(value, list | tuple):
        if not value:
            yield path, []
        for index, inner in enumerate(value):
            yield from _flatten(f"{path}[{index}]", inner)
    elif isinstance(value, set | bytearray | memoryview):
        yield path, frozenset(value) if isinstance(value, set) else bytes(value)  # the caller may change the original
    else:
        yield path, value


def _name(key: object) -> str:
    """A key as a part of a path: quoted where it could be mistaken for a path or for another key."""
    return key if isinstance(key, str) and _PLAIN_KEY.fullmatch(key) else repr(key)
