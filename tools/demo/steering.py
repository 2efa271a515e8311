"""Turns the flags of all migrations together, and waits until this process decides by them."""

from __future__ import annotations

import time
from collections.abc import Callable

from shim.application import SHADOW_SUFFIX, FlagAdmin, UnleashRouter, decision_now
from tools.demo.samples import DemoError
from tools.migrations import NAMES

_PATIENCE_SECONDS = 15.0
_POLL_SECONDS = 0.01
_HUNDRED = 100


def create_flags(admin: FlagAdmin) -> None:
    """Create the flags of all migrations, on with 0 %."""
    for name in NAMES:
        for flag in (name, name + SHADOW_SUFFIX):
            admin.ensure(flag)
            admin.set_percentage(flag, 0)
            admin.turn_on(flag)


class Steering:
    """The flags, as an operator turns them."""

    def __init__(self, admin: FlagAdmin, router: UnleashRouter) -> None:
        self._admin = admin
        self._router = router

    def serve(self, percentage: int, *, compared: int) -> None:
        """Send a share to the asynchronous path, compare a share, and wait until that is how it is."""
        for name in NAMES:
            self._admin.set_percentage(name, percentage)
            self._admin.set_percentage(name + SHADOW_SUFFIX, compared)
        wait_until(
            lambda: self._shares() == {(percentage, compared)},
            f"the flags took no effect ({self._router.status().error or 'no error is known'})",
        )

    def turn_off(self, reason: str) -> None:
        """Turn off who serves; does not wait."""
        for name in NAMES:
            self._admin.turn_off(name, reason)

    def _shares(self) -> set[tuple[int, int]]:
        decisions = [decision_now(self._router, name) for name in NAMES]
        return {
            (round(decision.probability * _HUNDRED), round(decision.shadow_probability * _HUNDRED))
            for decision in decisions
        }


def comes_true(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Wait until `condition` holds, at most `seconds`; whether it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait for something that is bound to happen.

    Raises:
        DemoError: it did not happen; `otherwise` says so.
    """
    if not comes_true(condition, seconds=_PATIENCE_SECONDS):
        raise DemoError(f"{otherwise} within {_PATIENCE_SECONDS:g} s")
