"""Refusals for good: legacy repeats them, the new path does not, and that is no difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration import Side
from migration.model import Verdict
from shim.http.facts import RequestTarget
from shim.http.recorder import REFUSED, AnswerBook, counted_once
from shim.http.recording import Exchange
from tests.tools.shadowing.bench import Bench, World, document
from tools.sandbox import FaultKind
from tools.shadowing.replay import is_final

POST = RequestTarget("kimi", "POST", "/files")
REQUESTS = st.fixed_dictionaries(
    {"path": st.sampled_from("ab"), "size": st.integers(0, 1)}, optional={REFUSED: st.just("for good")}
)


def _answer(status: int | None, body: bytes) -> Exchange:
    exchange = Exchange(method="POST", url="http://kimi/files")
    exchange.status = status
    exchange.body = body
    return exchange


QUOTA = _answer(429, b'{"error": {"type": "exceeded_current_quota_error", "message": "pay"}}')
BUSY = _answer(429, b'{"error": {"type": "engine_overloaded_error"}}')


@pytest.mark.parametrize(
    ("answer", "final"),
    [
        (QUOTA, True),
        (_answer(429, b'{"error": {"code": "1113", "message": "arrears"}}'), True),
        (_answer(429, b'{"code": 1113, "message": "arrears"}'), True),
        (BUSY, False),
        (_answer(429, b'{"error": {"code": "1302"}}'), False),
        (_answer(400, QUOTA.body), False),
        (_answer(None, b""), False),
        (_answer(429, b"<html>"), False),
        (_answer(429, b'["1113"]'), False),
        (_answer(429, b'{"error": "1113"}'), False),
    ],
)
def test_only_some_refusals_are_for_good(answer: Exchange, *, final: bool) -> None:
    """By the provider's own code, nested or flat; what cannot be read is not."""
    assert is_final(answer) is final


@given(st.lists(REQUESTS, max_size=12))
def test_only_repeats_of_a_refusal_for_good_are_left_out(seen: list[dict[str, object]]) -> None:
    """Everything else stays, as often as it was made and in its order; doing it twice changes nothing."""
    kept = counted_once(seen)
    assert [one for one in kept if REFUSED not in one] == [one for one in seen if REFUSED not in one]
    refused = [one for one in kept if REFUSED in one]
    assert all(refused.count(one) == 1 for one in refused)
    assert all(one in refused for one in seen if REFUSED in one)
    assert counted_once(kept) == kept


def test_a_refusal_for_good_is_given_as_often_as_it_is_asked_for() -> None:
    """A repeated request gets what the provider would say again; other answers are given once."""
    book = AnswerBook([(POST, BUSY), (POST, QUOTA)], is_final)
    assert [book.take(POST) for _ in range(4)] == [BUSY, QUOTA, QUOTA, QUOTA]
    book = AnswerBook([(POST, QUOTA), (POST, BUSY)], is_final)
    assert [book.take(POST) for _ in range(3)] == [QUOTA, BUSY, None]


@pytest.mark.parametrize("serve", Side)
def test_whoever_serves_a_refusal_for_good_is_the_same_error(
    serve: Side, bench: Callable[..., Bench], world: World
) -> None:
    """Legacy asks three times and the new path once: type and text agree, and nothing is reported."""
    world.sandbox.inject(FaultKind.QUOTA_EXCEEDED, "kimi", "files.create", times=None)
    comparison: Any = bench().compare(document(world.folder), world.storage, serve=serve)
    assert comparison.verdict is Verdict.SAME_ERROR, (comparison.detail, comparison.differences)
    assert len(world.sandbox.requests("kimi", "files.create")) == (3 if serve is Side.LEGACY else 1)
