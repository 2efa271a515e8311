"""Live shadows: the shadow really runs, what both runs created is compared, and it is undone (or kept)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from migration import Comparison, DeclarationError, Migration, Runtime, ShadowLimits, ShadowMode, Side, migrate
from migration.model import NoticeKind, Role, Stage, Verdict, stage_of
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.outbox import OutboxReplay
from tests.migration.shelf import Shelf, ShelfLive

Body = Callable[[Shelf], object]


def puts_it(shelf: Shelf) -> object:
    return {"name": shelf.put("thing", "content")}


@dataclass
class LiveBench:
    """Two sides that put things on a shelf, and what is compared of them."""

    runtime: Runtime
    router: FixedRouter
    observer: RecordingObserver
    shelf: Shelf = field(default_factory=Shelf)
    mode: ShadowMode = ShadowMode.LIVE
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.live = ShelfLive(shelf=self.shelf)

    def compare(self, legacy: Body = puts_it, candidate: Body = puts_it) -> Comparison:
        """Call once, whatever comes of it, and return what the comparison said."""

        async def new() -> object:
            return await asyncio.to_thread(candidate, self.shelf)

        def old() -> object:
            return legacy(self.shelf)

        migration = Migration(name="m", candidate=new, live=self.live, shadow_mode=self.mode, **self.options)
        with suppress(ValueError, ConnectionResetError):
            migrate(migration, runtime=self.runtime)(old)()
        assert self.runtime.shadows.drain(20)
        return self.observer.comparisons[-1]


@pytest.fixture(params=Side)
def bench(
    request: pytest.FixtureRequest, runtime: Runtime, router: FixedRouter, observer: RecordingObserver
) -> LiveBench:
    router.serve, router.shadow = request.param, True
    return LiveBench(runtime, router, observer)


def test_only_the_other_side_runs_again(bench: LiveBench) -> None:
    """It makes the same, under a marked name, and nothing of it stays; the primary's is left alone."""
    comparison = bench.compare()
    assert (comparison.verdict, comparison.mode) == (Verdict.IDENTICAL, ShadowMode.LIVE), comparison
    assert bench.shelf.things == {"thing": "content"}
    shadows = [done for done in bench.observer.operations if done.role is Role.SHADOW]
    assert [done.side for done in shadows] == [bench.router.serve.other]
    assert comparison.shadow_seconds is not None
    assert bench.runtime.shadows.kept == 0


def test_what_was_made_differs(bench: LiveBench) -> None:
    """A difference in what is read back is one, with its field."""
    comparison = bench.compare(candidate=lambda shelf: {"name": shelf.put("thing", "other content")})
    assert comparison.verdict is Verdict.DIFFERENT
    [difference] = comparison.differences
    assert (difference.field, difference.legacy, difference.candidate) == ("made.thing", "'content'", "'other content'")
    assert list(bench.shelf.things) == ["thing"]


def test_what_was_returned_differs(bench: LiveBench) -> None:
    """Results are compared as well, without their marks."""
    comparison = bench.compare(candidate=lambda shelf: {"name": f"{shelf.put('thing', 'content')}!"})
    assert [difference.field for difference in comparison.differences] == ["result.name"]


def test_rules_and_masks_hold(bench: LiveBench) -> None:
    """What excuses a mismatch of rehearsals excuses one of live shadows."""

    def other(shelf: Shelf) -> object:
        return {"name": shelf.put("thing", "other content")}

    bench.options = {"ignore": {"known": lambda _comparison: True}}
    assert bench.compare(candidate=other).verdict is Verdict.IGNORED
    bench.options = {"masked": ("made.*",)}
    bench.shelf.things.clear()
    comparison = bench.compare(candidate=other)
    assert (comparison.verdict, comparison.masked) == (Verdict.IDENTICAL, ("made.thing",))


def failing(error: Exception) -> Body:
    def fail(shelf: Shelf) -> object:
        shelf.put("half", "made")
        raise error

    return fail


def test_both_fail_alike(bench: LiveBench) -> None:
    """An error that does not pass is met by both sides, and compared."""
    same = bench.compare(failing(ValueError("no")), failing(ValueError("no")))
    assert same.verdict is Verdict.SAME_ERROR, same
    bench.shelf.things.clear()
    other = bench.compare(failing(ValueError("no")), failing(ValueError("never")))
    assert [difference.field for difference in other.differences] == ["error.text"]
    assert list(bench.shelf.things) == ["half"]


def test_an_error_that_passes_is_no_measure(bench: LiveBench) -> None:
    """What the primary met need not be met a moment later: then there is no shadow."""
    broken = failing(ConnectionResetError("cut"))
    comparison = bench.compare(broken, broken)
    assert comparison.verdict is Verdict.DROPPED
    assert "connection_lost" in comparison.detail
    assert bench.live.trials == 0


def test_only_the_other_side_fails(bench: LiveBench) -> None:
    """It is never hidden, whatever the kind, and what it made first is undone."""
    broken = failing(ConnectionResetError("cut"))
    legacy_serves = bench.router.serve is Side.LEGACY
    comparison = bench.compare(*((puts_it, broken) if legacy_serves else (broken, puts_it)))
    assert comparison.verdict is (Verdict.CANDIDATE_ERROR if legacy_serves else Verdict.LEGACY_ERROR)
    assert bench.shelf.things == {"thing": "content"}


def test_a_refused_trial_is_dropped(bench: LiveBench) -> None:
    """With the reason, and without a run."""
    bench.live.refused = "the quota is used up"
    comparison = bench.compare()
    assert (comparison.verdict, comparison.detail) == (Verdict.DROPPED, "the quota is used up")
    assert bench.shelf.things == {"thing": "content"}


def test_what_cannot_be_read_back_is_visible(bench: LiveBench) -> None:
    """A comparison in part says what it leaves out."""
    bench.live.unreadable = ("its colour",)
    comparison = bench.compare()
    assert (comparison.verdict, comparison.detail) == (Verdict.IDENTICAL, "not compared: its colour")


def test_a_changed_input_is_no_mismatch(bench: LiveBench) -> None:
    """Nor is there a shadow."""
    bench.live.stale = True
    assert bench.compare().verdict is Verdict.STALE_INPUT
    assert bench.shelf.things == {"thing": "content"}


def test_what_is_left_is_told(bench: LiveBench) -> None:
    """What could not be undone becomes a notice; the verdict stands."""
    bench.live.stuck = True
    assert bench.compare().verdict is Verdict.IDENTICAL
    [notice] = bench.observer.notices
    assert (notice.kind, notice.text) == (NoticeKind.SHADOW_LEFT, "it could not be removed")


def test_a_trial_has_its_own_deadline(runtime: Runtime, router: FixedRouter, observer: RecordingObserver) -> None:
    """A side that hangs is given up in time, and what it had made is undone; the caller has had its answer long ago."""
    router.shadow = True
    bench = LiveBench(runtime, router, observer)
    bench.live.seconds = 0.2
    released = threading.Event()

    def hang(shelf: Shelf) -> object:
        shelf.put("thing", "content")
        released.wait(20)
        return {}

    comparison = bench.compare(candidate=hang)
    released.set()
    assert comparison.verdict is Verdict.DROPPED
    assert "0.2 s" in comparison.detail
    assert bench.shelf.things == {"thing": "content"}


def test_the_caller_waits_for_nothing(runtime: Runtime, router: FixedRouter, observer: RecordingObserver) -> None:
    """The answer is there before the trial begins, however long that takes."""
    router.shadow = True
    bench = LiveBench(runtime, router, observer)
    released = threading.Event()
    times: list[float] = []

    async def candidate() -> object:
        await asyncio.to_thread(released.wait, 20)
        return puts_it(bench.shelf)

    migration = Migration(name="m", candidate=candidate, live=bench.live, shadow_mode=ShadowMode.LIVE)
    shim = migrate(migration, runtime=runtime)(lambda: puts_it(bench.shelf))
    assert shim() == {"name": "thing"}
    times.append(time.monotonic())
    assert not observer.comparisons
    released.set()
    assert runtime.shadows.drain(20)
    assert observer.comparisons[0].verdict is Verdict.IDENTICAL


def test_what_is_kept_is_there_once_from_each_side(bench: LiveBench) -> None:
    """Dual write: each side's work exactly once, compared all the same, and counted."""
    bench.mode = ShadowMode.KEPT
    comparison = bench.compare()
    assert (comparison.verdict, comparison.mode) == (Verdict.IDENTICAL, ShadowMode.KEPT)
    assert bench.shelf.things == {"thing": "content", "shadow-1-thing": "content"}
    assert bench.runtime.shadows.kept == 1
    decision = comparison.decision
    stage = Stage.DUALWRITE if bench.router.serve is Side.LEGACY else Stage.RAMPDOWN
    assert stage_of(decision.probability, decision.shadow_probability, comparison.mode) is stage


def test_a_difference_is_kept_as_well(bench: LiveBench) -> None:
    """What is kept is what the side makes, right or wrong."""
    bench.mode = ShadowMode.KEPT
    comparison = bench.compare(candidate=lambda shelf: {"name": shelf.put("thing", "other content")})
    assert comparison.verdict is Verdict.DIFFERENT
    assert len(bench.shelf.things) == 2


def test_nothing_half_done_is_kept(bench: LiveBench) -> None:
    """When the second write fails it is undone; when the first one failed there is no second one."""
    bench.mode = ShadowMode.KEPT
    legacy_serves = bench.router.serve is Side.LEGACY
    broken = failing(ValueError("no"))
    bench.compare(*((puts_it, broken) if legacy_serves else (broken, puts_it)))
    assert bench.shelf.things == {"thing": "content"}
    comparison = bench.compare(*((broken, puts_it) if legacy_serves else (puts_it, broken)))
    assert comparison.verdict is Verdict.DROPPED
    assert "nothing to be done twice" in comparison.detail
    assert bench.runtime.shadows.kept == 0


def test_the_hourly_budget_counts_copy_and_run(router: FixedRouter, observer: RecordingObserver) -> None:
    """A live comparison reads its input twice."""
    router.shadow = True
    runtime = Runtime(router=router, observers=[observer], shadow_limits=ShadowLimits(hourly_bytes=27))
    bench = LiveBench(runtime, router, observer)
    assert bench.compare().verdict is Verdict.IDENTICAL
    assert bench.compare().verdict is Verdict.DROPPED, "14 bytes each"
    runtime.close()


def test_a_declaration_says_which_way_is_used() -> None:
    """Replay unless something else is asked for: nothing is really done by accident."""
    live, replay = ShelfLive(shelf=Shelf()), OutboxReplay()
    assert Migration(name="m", candidate="a:b", replay=replay, live=live).mode is ShadowMode.REPLAY
    assert Migration(name="m", candidate="a:b", live=live).mode is ShadowMode.NONE
    both = Migration(name="m", candidate="a:b", replay=replay, live=live, shadow_mode=ShadowMode.KEPT)
    assert (both.mode, both.recorder) == (ShadowMode.KEPT, live)


@pytest.mark.parametrize(
    "wrong", [{"shadow_mode": ShadowMode.LIVE}, {"shadow_mode": ShadowMode.KEPT}, {"shadow_mode": ShadowMode.REPLAY}]
)
def test_a_mode_without_its_declaration_is_refused(wrong: dict[str, Any]) -> None:
    """Before anything is installed, and with the name of what is missing."""
    with pytest.raises(DeclarationError, match=r"needs a `(live|replay)=`"):
        Migration(name="m", candidate="a:b", **wrong)
