"""Contains a witness's failures: they cost the comparison, never the call."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import cast

from migration.model.ports import Noted
from migration.running.observers import Observers


class ContainedWitness:
    """A witness whose failure costs the comparison, not the call."""

    def __init__(self, observers: Observers, make: Callable[[], AbstractContextManager[Noted]]) -> None:
        self._observers = observers
        self._make = make
        self._manager: AbstractContextManager[Noted] | None = None
        self._witness: Noted | None = None

    def __enter__(self) -> Noted | None:
        self._observers.contain(self, self._enter)
        return self._witness

    def _enter(self) -> None:
        manager = self._make()
        self._witness = manager.__enter__()
        self._manager = manager

    def __exit__(self, *error: object) -> None:
        if self._manager is not None:
            self._observers.contain(self, cast("Callable[..., object]", self._manager.__exit__), *error)
