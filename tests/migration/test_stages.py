"""The six stages: what the flags and the declaration amount to, and what real calls do in each."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration import Migration, Runtime, ShadowMode, Side, migrate
from migration.model import Operation, Role, Stage, StageFlags, Verdict, flags_of, stage_of
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.helpers import eventually
from tests.migration.outbox import Outbox, OutboxReplay

modes = st.sampled_from(ShadowMode)
shares = st.integers(0, 100)


@pytest.mark.parametrize(
    ("serve", "shadow", "mode", "stage"),
    [
        (0, 0, ShadowMode.REPLAY, Stage.OFF),
        (0, 1, ShadowMode.NONE, Stage.OFF),
        (0, 1, ShadowMode.KEPT, Stage.DUALWRITE),
        (0, 0.2, ShadowMode.REPLAY, Stage.SHADOW),
        (0, 1, ShadowMode.LIVE, Stage.SHADOW),
        (0.01, 0, ShadowMode.REPLAY, Stage.LIVE),
        (0.5, 1, ShadowMode.KEPT, Stage.LIVE),
        (1, 0.1, ShadowMode.REPLAY, Stage.LIVE),
        (1, 1, ShadowMode.KEPT, Stage.RAMPDOWN),
        (1, 0, ShadowMode.KEPT, Stage.COMPLETE),
        (1, 1, ShadowMode.NONE, Stage.COMPLETE),
    ],
)
def test_the_table(serve: float, shadow: float, mode: ShadowMode, stage: Stage) -> None:
    """Two flags and the declaration's mode name the stage."""
    assert stage_of(serve, shadow, mode) is stage


@given(st.sampled_from(Stage), st.integers(1, 100))
def test_what_is_set_for_a_stage_is_that_stage(stage: Stage, percent: int) -> None:
    """`flags_of` and `stage_of` are each other's opposite, with the mode that the stage needs."""
    whole = stage in {Stage.RAMPDOWN, Stage.COMPLETE}
    flags = flags_of(stage, 100 if whole else percent)
    mode = ShadowMode.KEPT if stage.keeps else ShadowMode.REPLAY
    assert stage_of(flags.serve / 100, flags.shadow / 100, mode) is stage


@given(shares, shares, shares, modes)
def test_more_on_the_candidate_never_goes_back_a_stage(less: int, more: int, shadow: int, mode: ShadowMode) -> None:
    """The order of the stages is the order of the rollout."""
    stages = list(Stage)
    before, after = (
        stages.index(stage_of(share / 100, shadow / 100, mode)) for share in (min(less, more), max(less, more))
    )
    assert before <= after


@pytest.mark.parametrize(
    ("stage", "percent"),
    [(Stage.SHADOW, 0), (Stage.LIVE, 101), (Stage.COMPLETE, 99), (Stage.RAMPDOWN, 1), (Stage.OFF, -1)],
)
def test_a_share_that_does_not_suit_is_refused(stage: Stage, percent: int) -> None:
    """Half of the calls is not complete."""
    with pytest.raises(ValueError, match=f"stage {stage} takes"):
        flags_of(stage, percent)
    assert flags_of(Stage.OFF) == StageFlags(0, 0)


@dataclass(frozen=True)
class Seen:
    """What a stage's call came to: who answered, who ran for the caller and who for the comparison, what it said."""

    answered: str
    primary: list[Side]
    shadows: set[Side]
    verdicts: list[Verdict]


STAGES: dict[Stage, Seen] = {
    Stage.OFF: Seen("legacy", [Side.LEGACY], set(), []),
    Stage.SHADOW: Seen("legacy", [Side.LEGACY], set(Side), [Verdict.DIFFERENT]),
    Stage.LIVE: Seen("candidate", [Side.CANDIDATE], set(Side), [Verdict.DIFFERENT]),
    Stage.COMPLETE: Seen("candidate", [Side.CANDIDATE], set(), []),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("awaiting", [False, True])
def test_real_calls_in_a_stage(
    stage: Stage, runtime: Runtime, router: FixedRouter, observer: RecordingObserver, outbox: Outbox, *, awaiting: bool
) -> None:
    """Who answers, who runs, what is compared, and that only the answering side has an effect."""

    async def candidate() -> str:
        outbox.send(by="candidate")
        return "candidate"

    def legacy() -> str:
        outbox.send(by="legacy")
        return "legacy"

    migration = Migration(name="m", candidate=candidate, replay=OutboxReplay())
    shim = migrate(migration, runtime=runtime)(legacy)
    flags = flags_of(stage)
    router.serve = Side.CANDIDATE if flags.serve else Side.LEGACY
    router.shadow = bool(flags.shadow)

    answered = asyncio.run(shim.aio()) if awaiting else shim()

    expected = STAGES[stage]
    assert eventually(lambda: len(observer.comparisons) == len(expected.verdicts))
    assert runtime.shadows.drain(10)
    runs = [done for done in observer.operations if done.side is not None]
    assert Seen(answered, _sides(runs, Role.PRIMARY), set(_sides(runs, Role.SHADOW)), _verdicts(observer)) == expected
    assert outbox.delivered == [{"by": answered}]
    whole = next(done for done in observer.operations if done.side is None)
    decision = whole.decision
    assert stage_of(decision.probability, decision.shadow_probability, migration.mode) is stage


def _sides(runs: list[Operation], role: Role) -> list[Side]:
    return [run.side for run in runs if run.role is role and run.side is not None]


def _verdicts(observer: RecordingObserver) -> list[Verdict]:
    return [comparison.verdict for comparison in observer.comparisons]


def test_a_declaration_says_its_mode() -> None:
    """Without a replay there can be no shadow."""
    assert Migration(name="m", candidate="a:b").mode is ShadowMode.NONE
    assert Migration(name="m", candidate="a:b", replay=OutboxReplay()).mode is ShadowMode.REPLAY
