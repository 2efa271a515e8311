"""One policy for callers that block and callers that await: whatever the sides do, both get the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration import Decision, Migration, Reason, Runtime, Side, migrate
from migration.model import Outcome
from migration.routing import Shim
from migration.testing import FixedRouter, RecordingObserver


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
