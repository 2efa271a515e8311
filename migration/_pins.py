"""Which side the current context already runs on: a nested call is not decided a second time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from migration._model import Side

_EVERY = "*"
_pins: ContextVar[Mapping[str, Side]] = ContextVar("migration_pins", default={})  # noqa: B039  # never mutated


def pinned_side(migration: str) -> Side | None:
    """The side on which a call of `migration` has to stay here, if one is fixed."""
    pins = _pins.get()
    return pins.get(_EVERY) or pins.get(migration)


@contextmanager
def pinned(side: Side, migration: str | None = None) -> Iterator[None]:
    """Keep nested calls of `migration` (of all, if None) on `side`, undecided, untraced and uncompared."""
    token = _pins.set({**_pins.get(), migration or _EVERY: side})
    try:
        yield
    finally:
        with suppress(ValueError):  # an abandoned coroutine is closed in another context; the pin went with its own
            _pins.reset(token)
