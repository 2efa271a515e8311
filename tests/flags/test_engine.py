"""The engine asked directly says what Unleash's own client says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from UnleashClient.cache import BaseCache
from UnleashClient.clients.unleash_client import UnleashClient
from UnleashClient.constants import FEATURES_URL
from UnleashClient.utils import InstanceAllowType

from flags import FlagEvaluationError
from flags.http import MemoryCache
from flags.probability import Context, Engine
from tests.flags.helpers import NAME, Json, constraint, feature, payload, rollout

APP = "tests"
WORDS = st.sampled_from(["alice", "bob", "kimi", "glm", "1", "22", "1.2.3", "2020-01-01T00:00:00Z", "", 'ö\n"\\'])
FIELDS = ("userId", "sessionId", "appName", "environment", "remoteAddress", "currentTime", "provider", "size")
STICKY_FIELDS = ("default", *(field for field in FIELDS if field != "currentTime"))
"""What sticks to the time of day gets another answer a moment later."""
OPERATORS = ("IN", "NOT_IN", "STR_CONTAINS", "STR_STARTS_WITH", "STR_ENDS_WITH", "NUM_GT", "DATE_AFTER", "SEMVER_LT")


@contextmanager
def official_client(definitions: str) -> Iterator[UnleashClient]:
    """Unleash's client with these definitions, evaluating offline."""
    cache: BaseCache = MemoryCache()
    cache.set(FEATURES_URL, definitions)
    cache.bootstrapped = True
    client = UnleashClient(
        url="http://offline.invalid",
        app_name=APP,
        cache=cache,
        disable_metrics=True,
        disable_registration=True,
        multiple_instance_mode=InstanceAllowType.SILENTLY_ALLOW,
    )
    yield client
    client.destroy()


@st.composite
def constraints(draw: st.DrawFn) -> Json:
    words = draw(st.lists(WORDS, max_size=3))
    field, operator = draw(st.sampled_from(FIELDS)), draw(st.sampled_from(OPERATORS))
    return {**constraint(field, *words, operator=operator, inverted=draw(st.booleans())), "value": draw(WORDS)}


@st.composite
def strategies(draw: st.DrawFn) -> Json:
    kind = draw(st.sampled_from(["flexibleRollout", "default", "userWithId", "remoteAddress", "applicationHostname"]))
    limits = draw(st.lists(constraints(), max_size=2))
    if kind == "flexibleRollout":
        share, field = str(draw(st.integers(0, 100))), draw(st.sampled_from(STICKY_FIELDS))
        return rollout(share, stickiness=field, constraints=limits)
    parameters = {"userIds": "alice,1", "IPs": "10.0.0.1", "hostNames": "localhost"}
    return {"name": kind, "parameters": parameters, "constraints": limits}


@st.composite
def contexts(draw: st.DrawFn) -> Context:
    """The session is always known: without any id, `default` stickiness is random for each call."""
    given_fields = draw(st.sets(st.sampled_from(["userId", "remoteAddress", "provider", "currentTime"])))
    properties = st.dictionaries(st.sampled_from(["provider", "size", "userId", "x"]), WORDS | st.integers())
    given = {field: draw(WORDS) for field in sorted(given_fields)}
    return {**given, "sessionId": draw(WORDS.filter(bool)), "properties": draw(properties)}


@settings(max_examples=150, deadline=None)
@given(
    own=st.lists(strategies(), min_size=1, max_size=3),
    parents=st.lists(strategies(), min_size=1, max_size=2),
    depends=st.booleans(),
    enabled=st.booleans(),
    asked=st.lists(contexts(), min_size=1, max_size=6),
)
def test_it_decides_as_the_official_client_does(
    own: list[Json], parents: list[Json], asked: list[Context], *, depends: bool, enabled: bool
) -> None:
    """Whatever the strategies, constraints, parents and contexts: the answer is that of `UnleashClient.is_enabled`."""
    more: Json = {"dependencies": [{"feature": "parent", "enabled": True}]} if depends else {}
    definitions = payload(feature(*own, enabled=enabled, **more), feature(*parents, name="parent"))
    engine = Engine(definitions, app_name=APP)
    with official_client(definitions) as client:
        assert engine.names() == client.feature_definitions().keys()
        for context in asked:
            expected = client.is_enabled(NAME, dict(context))
            assert engine.is_enabled(NAME.encode(), engine.write(context)) is expected


def test_what_the_engine_cannot_answer_is_an_error() -> None:
    """A flag that it does not know and a context that it cannot read are errors, and not merely off."""
    engine = Engine(payload(feature(rollout("100"))), app_name=APP)
    with pytest.raises(FlagEvaluationError, match="NotFound"):
        engine.is_enabled(b"unknown", engine.write({}))
    with pytest.raises(FlagEvaluationError, match=f"{NAME}.*Error"):
        engine.is_enabled(NAME.encode(), engine.write({"sessionId": "half a character: \ud800"}))


def test_threads_ask_the_same_engine() -> None:
    """Threads that ask at the same time get the answers that one thread gets."""
    engine = Engine(payload(feature(rollout("50"))), app_name=APP)
    written = [engine.write({"sessionId": str(n)}) for n in range(500)]
    alone = [engine.is_enabled(NAME.encode(), one) for one in written]
    answers: list[list[bool]] = []
    threads = [
        threading.Thread(target=lambda: answers.append([engine.is_enabled(NAME.encode(), one) for one in written]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [alone] * 8
