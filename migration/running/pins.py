"""Which side the current context already runs on: a nested call is not decided a second time."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar, Token

from migration.model.model import Side

_EVERY = "*"
_pins: ContextVar[Mapping[str, Side]] = ContextVar("migration_pins", default={})  # noqa: B039  # never mutated


def pinned_side(migration: str) -> Side | None:
    """The side on which a call of `migration` has to stay here, if one is fixed."""
    pins = _pins.get()
    return pins.get(_EVERY) or pins.get(migration)


def is_part_of_a_call() -> bool:
    """Whether this context runs a side of a call already."""
    return bool(_pins.get())


class pinned:  # noqa: N801  # used like a function; a generator would cost each call three times as much
    """Keep nested calls of `migration` (of all, if None) on `side`, undecided, untraced and uncompared."""

    __slots__ = ("_name", "_side", "_token")

    def __init__(self, side: Side, migration: str | None = None) -> None:
        self._side = side
        self._name = migration or _EVERY
        self._token: Token[Mapping[str, Side]]

    def __enter__(self) -> None:
        self._token = _pins.set({**_pins.get(), self._name: self._side})

    def __exit__(self, *_error: object) -> None:
        try:
            _pins.reset(self._token)
        except ValueError:
            return  # an abandoned coroutine is closed in another context; the pin went with its own
