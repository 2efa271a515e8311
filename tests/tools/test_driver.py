"""One policy, two drivers: whatever a step does, both drivers do the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import pytest

from tools.transport.loops import drive, drive_async

Drive = Callable[[Generator[str, Any, Any], Callable[[str], object]], Any]


def awaiting(policy: Generator[str, Any, Any], perform: Callable[[str], object]) -> Any:
    async def performed(step: str) -> object:
        await asyncio.sleep(0)
        return perform(step)

    return asyncio.run(drive_async(policy, performed))


drivers = pytest.mark.parametrize("driver", [drive, awaiting])


@drivers
def test_steps_go_out_and_outcomes_come_back(driver: Drive) -> None:
    """Steps are performed in the policy's order, each outcome is sent to it, and its result is returned."""

    def policy() -> Generator[str, int, list[int]]:
        return [(yield "a"), (yield "bb"), (yield "ccc")]

    assert driver(policy(), len) == [1, 2, 3]


@drivers
def test_a_policy_may_handle_what_a_step_raises(driver: Drive) -> None:
    """An exception is raised in the policy at its step; a step after it is performed as any other."""

    def policy() -> Generator[str, str, list[str]]:
        try:
            yield "no number"
        except ValueError as error:
            return [type(error).__name__, (yield "7")]
        return []

    assert driver(policy(), int) == ["ValueError", 7]


@drivers
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, asyncio.CancelledError, SystemExit])
def test_an_interrupt_passes_through_the_policy(driver: Drive, interrupt: type[BaseException]) -> None:
    """What the policy has opened is closed on the way out, and the interrupt goes on."""
    left: list[str] = []

    def policy() -> Generator[str, object, None]:
        try:
            yield "a"
        finally:
            left.append("left")

    def perform(_step: str) -> object:
        raise interrupt

    with pytest.raises(interrupt):
        driver(policy(), perform)
    assert left == ["left"]
