"""Flattens a result into facts: exact about types, bounded in number, in depth, and in what it costs the caller."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from migration.model.declaration import Migration
from migration.model.model import Outcome

MAX_FIELDS = 10_000
"""Facts of one result; a larger one is compared up to here and is never identical."""

MAX_DEPTH = 32
"""Containers inside containers; likewise."""

CALLERS_SECONDS = 0.001
"""How long a caller waits for its result to be taken apart; the rest is done later."""

INCOMPLETE = "(incomplete)"
"""The fact that says where flattening ended early."""

_MAX_NAME = 100
_LARGE = 64 * 1024
"""Bytes or members of one value from which on it is not taken apart while its caller waits."""
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w-]{0,99}")
_LISTS = (list, tuple, deque)

Facts = Mapping[str, object]
"""Compared fields by their path, flat: `result.filename`, `requests[0].path`, `requests[0].query.'a.b'`."""


@dataclass(frozen=True, slots=True)
class ContentDigest:
    """Length and digest of bytes that their owner may change."""

    length: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.length} bytes, sha256 {self.sha256[:16]}"


@dataclass(frozen=True, slots=True)
class BackReference:
    """A container inside itself, by the path under which it came first."""

    path: str

    def __str__(self) -> str:
        return f"(the same as {self.path})"


def outcome_facts(migration: Migration, outcome: Outcome[Any]) -> Facts:
    """What is compared of an outcome: the declared facts of a result, or type, text and kind of an exception."""
    return Flattening.of(migration, outcome).finished()


def flatten(path: str, value: object) -> dict[str, object]:
    """The facts of `value`, by their paths below `path`.

    Mappings, lists, tuples, deques, dataclasses (without fields with `compare=False`), pydantic models (by their
    `model_fields`) and exceptions (type and text) are flattened. The type of a container that is no plain dict or list
    is a fact of its own, `PATH.(type)`. Everything else is one fact. What its owner may change later is copied.
    """
    return Flattening(path, value).finished()


class Flattening:
    """Flattens a value, as far as there is time for it now, and the rest later; see `flatten`.

    Attributes:
        late: whether something was left for later, when its owner may have changed it.

    Args:
        path: the path of the value.
        value: what is flattened.
        found: facts that are there already.
    """

    def __init__(self, path: str, value: object, found: Facts | None = None) -> None:
        self.late = False
        self._found: dict[str, object] = dict(found or {})
        self._times: Counter[str] = Counter()
        self._rest: Iterator[tuple[str, object] | None] = _walk(path, value, {})

    @classmethod
    def of(cls, migration: Migration, outcome: Outcome[Any]) -> Flattening:
        """The flattening of an outcome; see `outcome_facts`."""
        error = outcome.error
        if error is None:
            return cls("result", migration.facts(outcome.value))
        kind = str(migration.taxonomy.kind_of(error))
        return cls("error.type", type(error).__name__, {"error.text": str(error), "error.kind": kind})

    def begin(self, seconds: float = CALLERS_SECONDS, now: Callable[[], float] = time.perf_counter) -> None:
        """Flatten for so long, and nothing that takes long at once."""
        until = now() + seconds
        for fact in self._facts():
            if fact is None or now() > until:
                self.late = True
                return

    def finished(self) -> dict[str, object]:
        """All facts."""
        try:
            for _ in self._facts():
                pass
        except Exception as error:
            if not self.late:
                raise
            self._found[INCOMPLETE] = f"it was changed while it was taken apart: {type(error).__name__}"
        return self._found

    def _facts(self) -> Iterator[tuple[str, object] | None]:
        try:
            for step in self._rest:
                if step is not None:
                    self._keep(*step)
                yield step
        except _EndedEarlyError as ended:
            self._found[INCOMPLETE] = str(ended)

    def _keep(self, field: str, fact: object) -> None:
        if len(self._found) == MAX_FIELDS:
            self._rest = iter(())
            raise _EndedEarlyError(f"more than {MAX_FIELDS} fields; the next is {field}")
        self._times[field] += 1
        times = self._times[field]
        self._found[field if times == 1 else f"{field}#{times}"] = fact  # two keys can read the same


class _EndedEarlyError(Exception):
    """Something is too large or too deep to be flattened."""


def _walk(path: str, value: object, above: dict[int, str]) -> Iterator[tuple[str, object] | None]:
    """The facts; None before one that takes long."""
    items = _items(path, value)
    if items is None:
        if isinstance(value, bytearray | memoryview | set | frozenset):
            yield f"{path}.(type)", _type_name(value)
            if len(value) > _LARGE or (isinstance(value, set | frozenset) and len(value) > MAX_FIELDS // 100):
                yield None
        yield path, _snapshot(path, value)
        return
    if id(value) in above:
        yield path, BackReference(above[id(value)])
        return
    if len(above) == MAX_DEPTH:
        raise _EndedEarlyError(f"more than {MAX_DEPTH} containers inside each other at {path}")
    if type(value) not in (dict, list):
        yield f"{path}.(type)", _type_name(value)
    above[id(value)] = path
    empty = True
    for inner_path, inner in items:
        empty = False
        yield from _walk(inner_path, inner, above)
    if empty:
        yield path, [] if isinstance(value, _LISTS) else {}
    del above[id(value)]


def _items(path: str, value: object) -> Iterable[tuple[str, object]] | None:
    """The contents of a container by path; None if it is none."""
    if isinstance(value, Mapping):
        return ((f"{path}.{_name(key)}", inner) for key, inner in value.items())
    if isinstance(value, _LISTS):
        return ((f"{path}[{index}]", inner) for index, inner in enumerate(value))
    names = _declared_fields(value)
    if names is not None:
        return ((f"{path}.{_name(name)}", getattr(value, name)) for name in names)
    if isinstance(value, BaseException):
        return [(f"{path}.text", str(value))]
    return None


def _declared_fields(value: object) -> Iterable[str] | None:
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind) if field.compare]
    fields = getattr(kind, "model_fields", None)
    if isinstance(fields, Mapping):
        return [*fields, *(getattr(value, "model_extra", None) or ())]
    return None


def _snapshot(path: str, value: object) -> object:
    if isinstance(value, bytearray | memoryview):
        raw = bytes(value)
        return ContentDigest(length=len(raw), sha256=hashlib.sha256(raw).hexdigest())
    if not isinstance(value, set | frozenset):
        return value
    if len(value) > MAX_FIELDS:
        raise _EndedEarlyError(f"more than {MAX_FIELDS} members in the set at {path}")
    return _typed(value)


def _typed(value: object) -> object:
    """A set's members with their types, because 1, 1.0 and True are equal, and with NaN as one value."""
    if isinstance(value, set | frozenset):
        return frozenset(map(_typed, value))
    if isinstance(value, tuple):
        return type(value), tuple(map(_typed, value))
    if isinstance(value, float | complex):
        return type(value), str(value)
    return type(value), value


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _name(key: object) -> str:
    """A key as part of a path: quoted where it could be mistaken for a path or another key, and shortened."""
    if isinstance(key, str) and _PLAIN_NAME.fullmatch(key):
        return key
    if isinstance(key, Enum):
        text = str(key)
    elif isinstance(key, tuple):
        text = f"({', '.join(map(_name, key))})"
    elif isinstance(key, bytes):
        text = f"({len(key)} bytes, sha256 {hashlib.sha256(key).hexdigest()[:16]})"
    elif key is None or isinstance(key, str | int | float | complex | Decimal | UUID | date):
        text = repr(key)
    else:
        text = f"(a {type(key).__qualname__})"
    if len(text) <= _MAX_NAME:
        return text
    return f"{text[:_MAX_NAME]}...{hashlib.sha256(text.encode(errors='backslashreplace')).hexdigest()[:16]}"
