"""One policy, two drivers: whatever the sides do, both drivers do the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration import Decision, Migration, Reason, Runtime, Side, migrate
from migration.model import Outcome, drive, drive_async
from migration.routing import Shim
from migration.testing import FixedRouter, RecordingObserver

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


class SentNothingError(Exception):
    """Proof that nothing was sent."""


@dataclass(frozen=True)
class Scenario:
    serve: Side
    shadow: bool
    legacy: str
    candidate: str


scenarios = st.builds(
    Scenario,
    serve=st.sampled_from(Side),
    shadow=st.booleans(),
    legacy=st.sampled_from(["value", "error"]),
    candidate=st.sampled_from(["value", "error", "nothing sent", "unavailable"]),
)


def run(how: str, side: str) -> str:
    if how == "error":
        raise ValueError(side)
    if how == "nothing sent":
        raise SentNothingError(side)
    return side


def expected(scenario: Scenario) -> tuple[str, list[Side]]:
    """The rule in one place: what the caller gets, and which sides run."""
    if scenario.serve is Side.LEGACY:
        return f"legacy {scenario.legacy}", [Side.LEGACY]
    if scenario.candidate in {"nothing sent", "unavailable"}:
        return f"legacy {scenario.legacy}", [Side.CANDIDATE, Side.LEGACY]
    return f"candidate {scenario.candidate}", [Side.CANDIDATE]


def shim_of(scenario: Scenario, runtime: Runtime) -> Shim[[], str]:
    async def candidate() -> str:
        return run(scenario.candidate, "candidate")

    migration = Migration(
        name="m",
        candidate="no.such:thing" if scenario.candidate == "unavailable" else candidate,
        falls_back_on=(SentNothingError,),
    )
    return migrate(migration, runtime=runtime)(lambda: run(scenario.legacy, "legacy"))


@given(scenarios)
def test_both_drivers_follow_the_same_rule(scenario: Scenario) -> None:
    """For every combination of decision and outcomes, calling and awaiting give the same answer by the same runs."""
    observer = RecordingObserver()
    runtime = Runtime(router=FixedRouter(serve=scenario.serve, shadow=scenario.shadow), observers=[observer])
    shim = shim_of(scenario, runtime)

    def answer(call: Callable[[], str]) -> str:
        try:
            return f"{call()} value"
        except ValueError as error:
            return f"{error} error"

    answers, sides = [], []
    for call in (shim, lambda: asyncio.run(shim.aio())):
        answers.append(answer(call))
        sides.append([done.side for done in observer.operations if done.side is not None])
        observer.operations.clear()
    runtime.close()
    assert (answers[0], sides[0]) == expected(scenario)
    assert (answers[1], sides[1]) == expected(scenario)
    assert len(observer.comparisons) == 2 * scenario.shadow


def test_an_outcome_unwraps_to_what_it_holds() -> None:
    """None is a value; an error says its type and where it was raised."""
    good: Outcome[None] = Outcome(side=Side.LEGACY, seconds=0.0)
    assert good.unwrap() is None
    assert (good.error_type, good.error_location()) == (None, None)
    error = ValueError("a")
    bad: Outcome[None] = Outcome(side=Side.LEGACY, seconds=0.0, error=error)
    assert (bad.error_type, bad.error_location()) == ("ValueError", None)
    with pytest.raises(ValueError, match="a"):
        bad.unwrap()
    location = bad.error_location()
    assert location is not None
    assert location.startswith("model.py:")


def test_decisions_have_a_reason() -> None:
    """A decision cannot be made without saying who serves and why."""
    assert Decision(serve=Side.LEGACY, reason=Reason.DEFAULT).shadow is False
    assert Side.LEGACY.other is Side.CANDIDATE
    assert Side.CANDIDATE.other is Side.LEGACY
