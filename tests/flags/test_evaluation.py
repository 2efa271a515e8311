"""One flag, evaluated: who is chosen, how probable that was, and why."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from UnleashClient.utils import normalized_hash

from flags import FlagDefinitionsError
from flags.probability import Context
from flags.source import Evaluation, FlagSnapshot
from migration import Reason
from tests.flags.helpers import NAME, Json, constraint, feature, payload, rollout

USERS = {"name": "userWithId", "parameters": {"userIds": "alice,bob"}, "constraints": []}


def unit(value: object, user: str | None = None, **properties: str | int) -> Context:
    return {"sessionId": str(value), **({"userId": user} if user else {}), "properties": properties}


def evaluate(context: Context, *strategies: Json, **more: object) -> Evaluation:
    snapshot = FlagSnapshot(payload(feature(*strategies), **more), app_name="tests")
    return snapshot.evaluate(NAME, context)


def share(context_of: dict[str, str], *strategies: Json) -> float:
    """The share of many units that are really chosen."""
    snapshot = FlagSnapshot(payload(feature(*strategies)), app_name="tests")
    return sum(is_on(snapshot, {"sessionId": str(n), **context_of}) for n in range(2000)) / 2000


def is_on(snapshot: FlagSnapshot, context: Context) -> bool:
    return snapshot.evaluate(NAME, context).enabled


@settings(max_examples=25, deadline=None)
@given(percentage=st.integers(0, 100), group=st.text("abcdefgh-.", min_size=1, max_size=12))
def test_share_is_the_percentage(percentage: int, group: str) -> None:
    """Of the 100 buckets exactly as many are chosen as the percentage says, and the probability says the same."""
    snapshot = FlagSnapshot(payload(feature(rollout(str(percentage), group=group))), app_name="tests")
    by_bucket = {normalized_hash(str(n), group): str(n) for n in range(3000)}
    chosen = {bucket for bucket, value in by_bucket.items() if is_on(snapshot, {"sessionId": value})}
    assert len(by_bucket) == 100
    assert len(chosen) == percentage
    assert snapshot.evaluate(NAME, unit(1)).probability == percentage / 100


@settings(max_examples=25, deadline=None)
@given(smaller=st.integers(0, 100), larger=st.integers(0, 100))
def test_smaller_share_is_inside_the_larger(smaller: int, larger: int) -> None:
    """A unit that was chosen stays chosen when the percentage rises."""
    smaller, larger = sorted((smaller, larger))

    def chosen(percentage: int) -> set[int]:
        snapshot = FlagSnapshot(payload(feature(rollout(str(percentage)))), app_name="tests")
        return {n for n in range(150) if is_on(snapshot, {"sessionId": str(n)})}

    assert chosen(smaller) <= chosen(larger)


def test_ten_is_inside_twenty_percent() -> None:
    """The 10 % set is a proper subset of the 20 % set."""
    ten, twenty = (FlagSnapshot(payload(feature(rollout(p))), app_name="tests") for p in ("10", "20"))
    units = [{"sessionId": str(n)} for n in range(1000)]
    in_ten = [n for n, one in enumerate(units) if is_on(ten, one)]
    in_twenty = [n for n, one in enumerate(units) if is_on(twenty, one)]
    assert set(in_ten) < set(in_twenty)


@pytest.mark.parametrize(("percentage", "reason"), [("0", Reason.STATIC), ("37", Reason.SPLIT), ("100", Reason.STATIC)])
def test_plain_rollout(percentage: str, reason: Reason) -> None:
    """A rollout's probability is its percentage; 0 and 100 are static."""
    found = evaluate(unit(1), rollout(percentage))
    assert (found.probability, found.reason, found.error) == (int(percentage) / 100, reason, None)


def test_switched_off() -> None:
    """A flag that is off has probability 0, whatever its rollout says."""
    snapshot = FlagSnapshot(payload(feature(rollout("100"), enabled=False)), app_name="tests")
    found = snapshot.evaluate(NAME, unit(1))
    assert (found.enabled, found.probability, found.reason) == (False, 0.0, Reason.DISABLED)


def test_unknown_flag() -> None:
    """An unknown flag is off, and named as such."""
    snapshot = FlagSnapshot(payload(), app_name="tests")
    found = snapshot.evaluate(NAME, unit(1))
    assert (found.enabled, found.probability, found.reason) == (False, 0.0, Reason.DEFAULT)
    assert (found.version, found.error) == (None, "FlagNotFoundError")


def test_listed_user() -> None:
    """A user on the list is chosen for certain; another is not."""
    alice, carol = (evaluate(unit(1, user), USERS) for user in ("alice", "carol"))
    assert (alice.enabled, alice.probability, alice.reason) == (True, 1.0, Reason.TARGETING_MATCH)
    assert (carol.enabled, carol.probability, carol.reason) == (False, 0.0, Reason.DEFAULT)


def test_list_and_rollout() -> None:
    """With a list beside a rollout, the listed are certain and the others have the rollout's share."""
    alice, carol = (evaluate(unit(1, user), USERS, rollout("30")) for user in ("alice", "carol"))
    assert (alice.probability, alice.reason) == (1.0, Reason.TARGETING_MATCH)
    assert (carol.probability, carol.reason) == (0.3, Reason.SPLIT)


def test_constraint() -> None:
    """A rollout for some providers only: its share for them, 0 for the others."""
    strategy = rollout("40", constraints=[constraint("provider", "kimi")])
    assert evaluate(unit(1, provider="kimi"), strategy).probability == 0.4
    assert evaluate(unit(1, provider="glm"), strategy).probability == 0.0
    assert evaluate(unit(1), strategy).probability == 0.0


def test_constraint_on_a_number() -> None:
    """A size in bytes can be compared, and calls of different sizes are not confused."""
    small = {"contextName": "size", "operator": "NUM_LT", "value": "1000", "values": [], "inverted": False}
    snapshot = FlagSnapshot(payload(feature(rollout("100", constraints=[small]))), app_name="tests")
    probabilities = [snapshot.evaluate(NAME, unit(1, size=s)).probability for s in (10, 2000, 999)]
    assert probabilities == [1.0, 0.0, 1.0]


def test_segment() -> None:
    """A segment's constraints count like a strategy's own."""
    segment = {"id": 7, "name": "kimi", "constraints": [constraint("provider", "kimi")]}
    strategy = {**rollout("40"), "segments": [7]}
    assert evaluate(unit(1, provider="kimi"), strategy, segments=[segment]).probability == 0.4
    assert evaluate(unit(1, provider="glm"), strategy, segments=[segment]).probability == 0.0


def test_two_rollouts_of_one_group_overlap() -> None:
    """Shares that are hashed alike overlap: 20 % and 50 % are 50 %."""
    assert evaluate(unit(1), rollout("20"), rollout("50")).probability == 0.5


def test_two_groups_add_up() -> None:
    """Shares hashed apart are independent: 20 % or 50 % are 60 %, and that is what really happens."""
    strategies = (rollout("20", group="one"), rollout("50", group="two"))
    assert evaluate(unit(1), *strategies).probability == pytest.approx(0.6, abs=0.08)
    assert share({}, *strategies) == pytest.approx(0.6, abs=0.04)


def test_parent_flag() -> None:
    """A flag that depends on another one has the share of both together."""
    parent = feature(rollout("50", group="parent"), name="parent")
    child = feature(rollout("40"), dependencies=[{"feature": "parent", "enabled": True}])
    snapshot = FlagSnapshot(payload(parent, child), app_name="tests")
    assert snapshot.evaluate(NAME, unit(1)).probability == pytest.approx(0.2, abs=0.07)


def test_sticky_user() -> None:
    """A rollout that sticks to the user has its share; with `default` the user counts before the unit."""
    for stickiness in ("userId", "default"):
        found = evaluate(unit(1, "carol"), rollout("30", stickiness=stickiness))
        assert found.probability == 0.3
        assert found.enabled == (normalized_hash("carol", NAME) <= 30)
    assert evaluate(unit("7"), rollout("30", stickiness="default")).enabled == (normalized_hash("7", NAME) <= 30)


def test_sticky_property() -> None:
    """A rollout can stick to any attribute of the call."""
    assert evaluate(unit(1, tenant="acme"), rollout("30", stickiness="tenant")).probability == 0.3


@pytest.mark.parametrize("stickiness", ["userId", "tenant"])
def test_missing_stickiness(stickiness: str) -> None:
    """A call without the value that the rollout sticks to is never chosen, and the probability says so."""
    found = evaluate(unit(1), rollout("60", stickiness=stickiness))
    assert (found.enabled, found.probability) == (False, 0.0)


def test_random_rollout() -> None:
    """A rollout that sticks to nothing is drawn again each time, with its share."""
    assert evaluate(unit(1), rollout("30", stickiness="random")).probability == pytest.approx(0.3, abs=0.12)


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (rollout("150"), "InvalidPercentageError"),
        (rollout("33.3"), "InvalidPercentageError"),
        (rollout("-1"), "InvalidPercentageError"),
        (rollout(""), "InvalidPercentageError"),
        ({"name": "flexibleRollout", "constraints": []}, "InvalidPercentageError"),
        ({"name": "homeGrown", "parameters": {}, "constraints": []}, "UnknownStrategyError"),
        ({"name": "gradualRolloutSessionId", "parameters": {"percentage": "x"}}, "InvalidPercentageError"),
    ],
)
def test_broken_strategy(broken: Json, error: str) -> None:
    """A strategy that the engine would silently evaluate as off is an error, even beside a sound one."""
    found = evaluate(unit(1), rollout("100"), broken)
    assert (found.enabled, found.probability, found.reason, found.error) == (False, 0.0, Reason.ERROR, error)
    assert found.version is not None


def test_enabled_without_strategy() -> None:
    """An enabled flag without a strategy would be on for everybody: that is an error."""
    nothing: list[object] = [[], None]
    for strategies in nothing:
        snapshot = FlagSnapshot(payload({**feature(), "strategies": strategies}), app_name="tests")
        assert snapshot.engine.is_enabled(NAME.encode(), snapshot.engine.write({}))
        found = snapshot.evaluate(NAME, unit(1))
        assert (found.enabled, found.error) == (False, "NoStrategyError")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"features": {}}',
        '{"features": [{}]}',
        '{"features": ["x"]}',
        payload(feature(rollout(33))),
        payload(feature(rollout(None))),
        payload(feature(rollout("10"), enabled="yes")),  # type: ignore[arg-type]  # broken on purpose
        payload(feature(rollout("0")), feature(rollout("100"))),
        payload(segments=["x"]),
        payload({"name": NAME}),
        "[" * 100_000,
        '{"features": []}' + " " * 5 * 1024 * 1024,
    ],
)
def test_definitions_that_the_engine_would_silently_refuse(text: str) -> None:
    """Definitions that the engine drops without a word are an error, and so is what is no definitions at all."""
    with pytest.raises(FlagDefinitionsError):
        FlagSnapshot(text, app_name="tests")


def test_version_follows_everything_that_counts() -> None:
    """The fingerprint changes with the flag, its segments and its parents, and with nothing else."""

    def version(other: str, size: str, parent: str, own: str) -> str | None:
        segment = {"id": 7, "constraints": [constraint("size", size)]}
        strategy = {**rollout(own), "segments": [7]}
        flags = (
            feature(rollout(other), name="other"),
            feature(rollout(parent), name="parent"),
            feature(strategy, dependencies=[{"feature": "parent"}]),
        )
        snapshot = FlagSnapshot(payload(*flags, segments=[segment]), app_name="tests")
        return snapshot.evaluate(NAME, unit(1)).version

    same, changed_other = version("1", "2", "3", "4"), version("9", "2", "3", "4")
    assert same == changed_other
    assert len({same, version("1", "9", "3", "4"), version("1", "2", "9", "4"), version("1", "2", "3", "9")}) == 4


def test_new_state_is_worked_out_before_it_is_published() -> None:
    """A state that replaces another already knows the probabilities of the flags that were asked for."""
    old, new = (FlagSnapshot(payload(feature(rollout(p))), app_name="tests") for p in ("10", "20"))
    old.evaluate(NAME, unit(1))
    new.warm_up(old)
    asked: list[bytes] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(new.engine, "is_enabled", lambda name, _: asked.append(name))
        assert new.evaluate(NAME, unit(2)).probability == 0.2
    assert asked == [NAME.encode()]  # about this call, and nothing about the probabilities
