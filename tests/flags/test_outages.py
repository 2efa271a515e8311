"""What the router does when the flag server does not do what it should."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flags import UnleashRouter
from migration import Reason, Side
from tests.flags.helpers import (
    ALL,
    NONE,
    TOKEN,
    Clock,
    ScriptedServer,
    decide_until,
    eventually,
    feature,
    make_call,
    payload,
    rollout,
)


def test_follows_the_server(server: ScriptedServer, make_router: Callable[[], UnleashRouter]) -> None:
    """Definitions are followed from the first decision on, and the token is sent, whatever `~/.netrc` says."""
    router = make_router()
    assert router.decide(make_call()).serve is Side.CANDIDATE
    assert router.decide(make_call()).source == "unleash"
    server.body = NONE
    decide_until(router, lambda decision: decision.serve is Side.LEGACY)
    assert {seen["Authorization"] for seen in server.headers_seen} == {TOKEN}


def test_netrc_does_not_replace_the_token(
    server: ScriptedServer, make_router: Callable[[], UnleashRouter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `.netrc` entry for the server's host does not replace the token, as it does by default in requests."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert make_router().decide(make_call()).serve is Side.CANDIDATE
    assert {seen["Authorization"] for seen in server.headers_seen} == {TOKEN}


@pytest.mark.parametrize("repeats_etag", [True, False])
def test_unchanged_answers_keep_the_flags_fresh(
    server: ScriptedServer, make_router: Callable[[], UnleashRouter], clock: Clock, *, repeats_etag: bool
) -> None:
    """An answer 304 confirms the definitions as much as a full answer does, with an ETag of its own or without."""
    server.etag, server.repeats_etag = '"one"', repeats_etag
    router = make_router()
    clock.ahead = 1000
    server.saw_another_poll()
    decide_until(router, lambda decision: decision.reason is Reason.STATIC)
    assert "If-None-Match" in server.headers_seen[-1]
    assert eventually(lambda: router.status().healthy)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 502, 503, 504])
def test_an_error_at_start_means_legacy(
    server: ScriptedServer, make_router: Callable[[], UnleashRouter], status: int
) -> None:
    """A server that answers errors from the start leaves legacy in charge, says so, and is followed later."""
    server.status = status
    router = make_router()
    decision = router.decide(make_call())
    assert (decision.serve, decision.reason, decision.error) == (Side.LEGACY, Reason.ERROR, "FlagServerError")
    assert f"status {status}" in str(router.status().error)
    assert router.status().last_success_age is None
    server.status = 200
    decide_until(router, lambda decision: decision.serve is Side.CANDIDATE)
    assert router.status().error is None


def test_an_outage_is_survived_for_a_minute(
    server: ScriptedServer, make_router: Callable[[], UnleashRouter], clock: Clock
) -> None:
    """While the server fails the last definitions stay in force: as usual, then marked as stale, then not at all."""
    router = make_router()
    server.status = 500
    server.saw_another_poll()
    assert router.decide(make_call()).reason is Reason.STATIC
    eventually(lambda: "status 500" in str(router.status().error))
    clock.ahead = 30
    decision = router.decide(make_call())
    assert (decision.serve, decision.reason) == (Side.CANDIDATE, Reason.STALE)
    assert not router.status().healthy
    clock.ahead = 61
    decision = router.decide(make_call())
    assert (decision.serve, decision.reason, decision.error) == (Side.LEGACY, Reason.STALE, "FlagsStaleError")
    server.status = 200
    decide_until(router, lambda decision: decision.serve is Side.CANDIDATE)


def test_silence_is_an_outage(server: ScriptedServer, make_router: Callable[[], UnleashRouter], clock: Clock) -> None:
    """A server that stops answering is reported as such, and its definitions grow old."""
    router = make_router()
    server.hang = True
    clock.ahead = 30
    decide_until(router, lambda decision: decision.reason is Reason.STALE)
    assert "no answer" in str(router.status().error)


def test_a_hanging_server_does_not_hold_up_the_start(
    server: ScriptedServer, make_router: Callable[[], UnleashRouter]
) -> None:
    """A server that accepts and never answers costs the start its bounded wait, and the close as little."""
    server.hang = True
    began = time.monotonic()
    router = make_router()
    decision = router.decide(make_call())
    assert decision.serve is Side.LEGACY
    assert decision.error in {"FlagsNotReadyError", "FlagServerError"}
    router.close(0.2)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("from_the_start", [True, False])
def test_a_trickling_server_does_not_hold_up_the_end_of_the_process(
    server: ScriptedServer, *, from_the_start: bool
) -> None:
    """A server that answers a byte at a time, so that no read times out, holds up neither start nor exit."""
    server.body += " " * 10_000
    server.trickle = from_the_start
    script = """
        import sys
        from flags import UnleashRouter
        from tests.flags.helpers import make_call
        router = UnleashRouter.from_server(sys.argv[1], "token", refresh_seconds=0.05, start_timeout=1)
        print(router.decide(make_call()).error, flush=True)
        sys.stdin.readline()
    """
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", textwrap.dedent(script), server.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == ("FlagsNotReadyError" if from_the_start else "None")
    server.trickle = True
    polls = len(server.headers_seen)
    eventually(lambda: from_the_start or len(server.headers_seen) > polls)
    process.communicate("\n", timeout=10)
    assert process.returncode == 0


def test_a_decision_is_of_one_state(
    server: ScriptedServer, make_router: Callable[[], UnleashRouter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the definitions change while a decision is taken, side, probability and version are still of one state."""
    router = make_router()
    source = router.follow()
    old = source.snapshot()
    is_enabled = old.engine.is_enabled

    def late(name: bytes, written: bytes) -> bool:
        server.body = NONE
        eventually(lambda: source.snapshot() is not old)
        return is_enabled(name, written)

    monkeypatch.setattr(old.engine, "is_enabled", late)
    decision = router.decide(make_call())
    assert (decision.serve, decision.probability) == (Side.CANDIDATE, 1.0)
    following = router.decide(make_call())
    assert (following.serve, following.probability) == (Side.LEGACY, 0.0)
    assert following.flag_version != decision.flag_version


def test_a_closed_port_means_legacy(make_router: Callable[..., UnleashRouter]) -> None:
    """A refused connection leaves legacy in charge."""
    router = make_router("http://127.0.0.1:9")
    decision = router.decide(make_call())
    assert (decision.serve, decision.reason, decision.error) == (Side.LEGACY, Reason.ERROR, "FlagServerError")


def test_an_impossible_address_means_legacy(make_router: Callable[..., UnleashRouter]) -> None:
    """An address that cannot be used does not raise in the caller."""
    router = make_router("http://[broken")
    assert router.decide(make_call()).error == "FlagServerError"
    assert "InvalidURL" in str(router.status().error)


@pytest.mark.parametrize(
    "body", ["", "<html>", "{}", '{"features": null}', payload(feature(rollout(33))), payload(feature(), feature())]
)
@pytest.mark.parametrize("etag", [None, '"garbage"'])
def test_garbage_is_no_definition(
    server: ScriptedServer, make_router: Callable[[], UnleashRouter], clock: Clock, body: str, etag: str | None
) -> None:
    """A broken answer changes nothing, is not remembered as the current one, and does not count as a confirmation."""
    router = make_router()
    server.body, server.etag = body, etag
    server.saw_another_poll()
    assert router.decide(make_call()).serve is Side.CANDIDATE
    clock.ahead = 1000
    server.saw_another_poll()
    assert router.decide(make_call()).error == "FlagsStaleError"
    assert not router.status().healthy
    server.body, server.etag = NONE, '"sound"'
    decide_until(router, lambda decision: decision.reason is Reason.STATIC)


def test_garbage_from_the_start(server: ScriptedServer, make_router: Callable[[], UnleashRouter]) -> None:
    """A server that first answers garbage is followed once it answers definitions."""
    server.body, server.etag = "garbage", '"same"'
    router = make_router()
    assert router.decide(make_call()).error == "FlagDefinitionsError"
    server.body = ALL
    decide_until(router, lambda decision: decision.serve is Side.CANDIDATE)
