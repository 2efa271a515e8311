"""Shares below one percent, and single instances: set as constraints, and with their exact probabilities."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from flags import FileFlagAdmin, FlagAdmin, UnleashRouter
from migration import Side
from migration.rollout import Exposure
from tests.flags.helpers import NAME, Json, constraint, eventually, feature, make_call, payload, rollout
from tests.support.unleash import UnleashServer

EXPOSURES = [Exposure(0.1), Exposure(0.05), Exposure(7), Exposure(100, "web-1"), Exposure(0.5, "web-1"), Exposure(0)]


@pytest.fixture(params=["file", "server"])
def admin(request: pytest.FixtureRequest, tmp_path: Path) -> FlagAdmin:
    if request.param == "file":
        return FileFlagAdmin(tmp_path / "flags.json")
    server: UnleashServer = request.getfixturevalue("unleash_server")
    return server.admin


@pytest.fixture
def router(tmp_path: Path) -> Iterator[UnleashRouter]:
    router = UnleashRouter.from_file(tmp_path / "flags.json", interval=0.02, instance="web-1")
    yield router
    router.close()


def test_what_is_set_is_what_is_shown(admin: FlagAdmin) -> None:
    """In a file and on a real server alike each exposure can be set, is shown as it is, and a plain share ends it."""
    admin.ensure("exposed")
    for exposure in EXPOSURES:
        flag = admin.set_exposure("exposed", exposure)
        assert flag == admin.get("exposed")
        assert flag.percentage == pytest.approx(exposure.percent)
        assert flag.instance == exposure.instance
    admin.set_exposure("exposed", Exposure(0.1))
    flag = admin.set_percentage("exposed", 20)
    assert (flag.percentage, flag.instance, flag.strategies) == (20, None, 1)


@pytest.mark.parametrize("percent", [0.1, 0.5, 10.0])
def test_the_share_is_as_said(router: UnleashRouter, tmp_path: Path, percent: float) -> None:
    """The probability of a decision is exact below one percent, and so many calls are served, whichever they are."""
    admin = FileFlagAdmin(tmp_path / "flags.json")
    admin.ensure(NAME)
    admin.set_exposure(NAME, Exposure(percent))
    eventually(lambda: router.decide(make_call()).probability > 0)
    decisions = [router.decide(make_call(unit)) for unit in range(20_000)]
    assert {round(decision.probability, 12) for decision in decisions} == {percent / 100}
    served = sum(decision.serve is Side.CANDIDATE for decision in decisions)
    assert served == pytest.approx(20_000 * percent / 100, rel=0.35)


def test_a_larger_share_contains_the_smaller_one(router: UnleashRouter, tmp_path: Path) -> None:
    """A call that is in the first tenth of a percent is in every later stage too."""
    admin = FileFlagAdmin(tmp_path / "flags.json")
    admin.ensure(NAME)
    inside: list[set[int]] = []
    for percent in (0.1, 0.5, 1, 10):
        admin.set_exposure(NAME, Exposure(percent))
        eventually(lambda wanted=percent / 100: router.decide(make_call()).probability == pytest.approx(wanted))  # type: ignore[misc]  # bound now
        inside.append({unit for unit in range(10_000) if router.decide(make_call(unit)).serve is Side.CANDIDATE})
    assert inside[0] < inside[1] < inside[2] < inside[3]


def test_an_instance_has_all_or_nothing(router: UnleashRouter, tmp_path: Path) -> None:
    """Where a flag is for one instance its calls have the probability 1, and those of others 0."""
    admin = FileFlagAdmin(tmp_path / "flags.json")
    admin.ensure(NAME)
    admin.set_exposure(NAME, Exposure(100, "web-1"))
    eventually(lambda: router.decide(make_call()).probability == 1.0)
    other = UnleashRouter.from_file(tmp_path / "flags.json", instance="web-2")
    try:
        decision = other.decide(make_call())
        assert (decision.serve, decision.probability) == (Side.LEGACY, 0.0)
    finally:
        other.close()


def test_a_call_cannot_say_its_own_bucket_or_instance(router: UnleashRouter, tmp_path: Path) -> None:
    """Facts of a call with these names change nothing: the share would no longer be the one that is set."""
    admin = FileFlagAdmin(tmp_path / "flags.json")
    admin.ensure(NAME)
    admin.set_exposure(NAME, Exposure(100, "web-1"))
    eventually(lambda: router.decide(make_call(instance="web-9", bucket=99_999)).serve is Side.CANDIDATE)


@pytest.mark.parametrize(
    ("strategies", "probability"),
    [
        ([rollout("100", constraints=[constraint("bucket", "5", "6", "77")])], 0.0003),
        ([rollout("50", constraints=[{**constraint("bucket", operator="NUM_GTE"), "value": "2500"}])], 0.375),
        (
            [
                rollout("100", constraints=[{**constraint("bucket", operator="NUM_LT"), "value": "1000"}]),
                rollout(
                    "20", constraints=[{**constraint("bucket", operator="NUM_LT", inverted=True), "value": "1000"}]
                ),
            ],
            0.1 + 0.9 * 0.2,
        ),
    ],
)
def test_any_constraint_on_numbers_is_exact(
    router: UnleashRouter, tmp_path: Path, strategies: list[Json], probability: float
) -> None:
    """The probability is found for any rule about the buckets that the console can make."""
    (tmp_path / "flags.json").write_text(payload(feature(*strategies)))
    assert json.loads((tmp_path / "flags.json").read_text())
    eventually(lambda: router.decide(make_call()).probability == pytest.approx(probability, abs=1e-12))


def test_a_targeted_strategy_is_left_alone(tmp_path: Path) -> None:
    """A strategy that was added for an instance by hand stays when the share is set."""
    targeted = rollout("100", constraints=[constraint("instance", "web-3")])
    path = tmp_path / "flags.json"
    path.write_text(payload(feature(rollout("0"), targeted)))
    FileFlagAdmin(path).set_exposure(NAME, Exposure(0.5))
    FileFlagAdmin(path).set_exposure(NAME, Exposure(20))
    kept = json.loads(path.read_text())["features"][0]["strategies"]
    assert targeted in kept
    assert FileFlagAdmin(path).get(NAME).percentage == 20
