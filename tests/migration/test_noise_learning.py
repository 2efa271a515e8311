"""On some calls legacy runs twice, and what of it is noise is named in every comparison, and never hidden."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from migration import Comparison, Migration, Runtime, ShadowLimits, Side, migrate
from migration.model import NoiseSample, Role, Verdict
from migration.shadow import FieldVerdict, noise_report
from migration.shadow.runner import ShadowRunner
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.outbox import Outbox, OutboxReplay


@dataclass
class Noisy:
    """A migration whose sides send a value and return one, and what is compared of them."""

    serve: Side = Side.LEGACY
    share: float = 1.0
    coin: Callable[[], float] = lambda: 0.0
    sent: Callable[[Side], object] = lambda _side: 0
    result: Callable[[Side], object] = lambda _side: 0
    observer: RecordingObserver = field(default_factory=RecordingObserver)
    replay: OutboxReplay = field(default_factory=OutboxReplay)

    def __post_init__(self) -> None:
        outbox = Outbox()
        self.runtime = Runtime(router=FixedRouter(serve=self.serve, shadow=True), observers=[self.observer])
        self.runtime.shadows = ShadowRunner(
            candidates=self.runtime.loop,
            observers=self.runtime.observers,
            limits=ShadowLimits(noise_share=self.share),
            chance=self.coin,
        )

        def legacy() -> object:
            outbox.send(value=self.sent(Side.LEGACY))
            return self.result(Side.LEGACY)

        async def candidate() -> object:
            outbox.send(value=self.sent(Side.CANDIDATE))
            return self.result(Side.CANDIDATE)

        migration = Migration(name="m", candidate=candidate, replay=self.replay)
        self.call = migrate(migration, runtime=self.runtime)(legacy)

    def compare(self, calls: int = 1) -> list[Comparison]:
        """What is said of so many calls."""
        before = len(self.observer.comparisons)
        for _ in range(calls):
            with suppress(ValueError):
                self.call()
            assert self.runtime.shadows.drain(10)
        return self.observer.comparisons[before:]

    def verdicts(self) -> dict[str, FieldVerdict]:
        return {found.field: found.verdict for found in self.runtime.shadows.noise.report("m").fields}

    def rehearsed(self) -> list[Side | None]:
        return [done.side for done in self.observer.operations if done.role is Role.SHADOW]


@pytest.fixture
def noisy() -> Iterator[Callable[..., Noisy]]:
    made: list[Noisy] = []

    def make(**options: Any) -> Noisy:
        made.append(Noisy(**options))
        return made[-1]

    yield make
    for one in made:
        one.runtime.shadows.close()
        one.runtime.close()


def anything() -> Callable[[Side], int]:
    """Another value each time."""
    numbers = itertools.count()
    return lambda _side: next(numbers)


SENT = "requests[0].value"


@pytest.mark.parametrize("serve", Side)
def test_noise_is_named_and_stays_visible(noisy: Callable[..., Noisy], serve: Side) -> None:
    """What differs in every run is a difference until it is known; then the verdict says noisy, and still shows it."""
    bench = noisy(serve=serve, sent=anything())
    found = bench.compare(30)
    verdicts = [each.verdict for each in found]
    known = verdicts.index(Verdict.NOISY)
    assert verdicts == [Verdict.DIFFERENT] * known + [Verdict.NOISY] * (30 - known)
    assert known <= 12
    assert {each.noisy for each in found[known:]} == {(SENT,)}
    assert all([difference.field for difference in each.differences] == [SENT] for each in found)
    assert bench.verdicts() == {SENT: FieldVerdict.NOISE}


@pytest.mark.parametrize("serve", Side)
def test_a_real_difference_beside_noise_is_not_hidden(noisy: Callable[..., Noisy], serve: Side) -> None:
    """A comparison in which more than noise differs stays different, and the report tells both fields apart."""
    noise = anything()
    bench = noisy(serve=serve, sent=lambda side: {"id": noise(side), "purpose": side})
    last = bench.compare(20)[-1]
    assert (last.verdict, last.noisy) == (Verdict.DIFFERENT, ("requests[0].value.id",))
    assert bench.verdicts() == {
        "requests[0].value.id": FieldVerdict.NOISE,
        "requests[0].value.purpose": FieldVerdict.MISMATCH,
    }


def test_a_result_that_is_never_the_same_is_compared_once_that_is_known(noisy: Callable[..., Noisy]) -> None:
    """Until then the side that served is said not to have done the same again."""
    clock = anything()
    bench = noisy(result=lambda side: {"at": clock(side), "id": "1"})
    found = bench.compare(20)
    assert (found[0].verdict, found[0].detail) == (Verdict.DROPPED, "legacy did not do the same again: result.at")
    assert (found[-1].verdict, found[-1].noisy) == (Verdict.NOISY, ("result.at",))


def test_only_a_share_of_the_calls_costs_a_third_run(noisy: Callable[..., Noisy]) -> None:
    """Chance decides whether legacy runs twice; without a share it never does."""
    chances = iter([0.2, 0.0, 0.5, 0.9])
    bench = noisy(share=0.25, coin=lambda: next(chances))
    found = bench.compare(3)
    assert bench.rehearsed() == [Side.LEGACY, Side.CANDIDATE, Side.LEGACY] + [Side.LEGACY, Side.CANDIDATE] * 2
    assert [each.noise for each in found] == [NoiseSample(candidate=(), legacy=()), None, None]
    bench = noisy(share=0.0)
    bench.compare(3)
    assert len(bench.rehearsed()) == 6


@pytest.mark.parametrize("serve", Side)
def test_the_order_of_the_runs_is_left_to_chance(noisy: Callable[..., Noisy], serve: Side) -> None:
    """So noise that depends on when a side ran hits the candidate and the second run of legacy alike."""
    coins = itertools.cycle([0.0, 0.4, 0.0, 0.6])
    bench = noisy(serve=serve, coin=lambda: next(coins))
    bench.compare(2)
    legacy, candidate = Side
    assert bench.rehearsed() == [legacy, candidate, legacy, legacy, legacy, candidate]


def test_runs_that_end_differently_teach_nothing(noisy: Callable[..., Noisy]) -> None:
    """A failure is a verdict of its own, and no noise in the fields that are missing then."""

    def fail(side: Side) -> object:
        if side is Side.CANDIDATE:
            raise ValueError
        return 1

    bench = noisy(result=fail)
    [found] = bench.compare()
    assert (found.verdict, found.noise) == (Verdict.CANDIDATE_ERROR, None)
    assert bench.verdicts() == {}


def test_errors_can_be_noisy_too(noisy: Callable[..., Noisy]) -> None:
    """Where all runs fail, the text of the error may be what differs each time."""
    number = anything()

    def fail(side: Side) -> object:
        raise ValueError(number(side))

    bench = noisy(result=fail)
    assert bench.compare(20)[-1].noisy == ("error.text",)


def test_what_was_learned_can_be_kept(noisy: Callable[..., Noisy]) -> None:
    """The samples in the comparisons are enough to know in another process what this one knows."""
    bench = noisy(sent=anything())
    found = bench.compare(20)
    kept = [(each.call.function, each.noise) for each in found if each.noise is not None]
    assert noise_report("m", kept) == bench.runtime.shadows.noise.report("m")
    fresh = noisy(sent=anything())
    for function, sample in kept:
        fresh.runtime.shadows.noise.learn("m", function, sample)
    assert fresh.compare()[0].verdict is Verdict.NOISY


def test_a_call_that_differs_in_too_many_fields_teaches_nothing(noisy: Callable[..., Noisy]) -> None:
    """What is listed of it ends somewhere, and where is no matter of noise."""
    number = anything()
    bench = noisy(sent=lambda side: {f"f{each}": number(side) for each in range(60)})
    assert [each.noise for each in bench.compare(2)] == [None, None]
