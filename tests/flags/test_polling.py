"""How the server is polled: each question is bounded in time and size, and the wall clock has no say in it."""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import flags.server
from flags import Freshness, UnleashRouter
from flags.http import HttpBounds, ask
from migration import Reason, Side
from tests.flags.helpers import (
    NONE,
    ScriptedServer,
    decide_until,
    eventually,
    make_call,
    scripted_server,
)
from tests.support.tcp_proxy import SOUND, Fault, TcpProxy, http_answer, tcp_proxy

MEGABYTE = b" " * 1024 * 1024


@pytest.fixture
def proxy(server: ScriptedServer) -> Iterator[TcpProxy]:
    with tcp_proxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def router(proxy: TcpProxy, server: ScriptedServer) -> Iterator[UnleashRouter]:
    router = UnleashRouter.from_server(
        proxy.through(server.url),
        "planted-token",
        refresh_seconds=0.05,
        request_timeout=0.5,
        freshness=Freshness(doubtful_after=10, dead_after=60),
    )
    assert router.decide(make_call()).serve is Side.CANDIDATE
    yield router
    router.close()


@pytest.mark.parametrize("status", [200, 404, 500])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_an_endless_answer_is_left_at_its_bound(
    router: UnleashRouter, proxy: TcpProxy, server: ScriptedServer, status: int, *, packed: bool
) -> None:
    """An answer without end, packed or not, takes a few megabytes, is reported, and the next sound one counts."""
    before = psutil.Process().memory_info().rss
    if packed:
        answer = http_answer(gzip.compress(MEGABYTE * 50), status=status, Content_Encoding="gzip")
    else:
        answer = http_answer(MEGABYTE, status=status, times=None)
    proxy.weather(Fault(answer=answer))
    wanted = "larger than" if status == 200 else f"status {status}"
    eventually(lambda: wanted in str(router.status().error))
    eventually(lambda: len(proxy.connections) > 5)
    assert psutil.Process().memory_info().rss - before < 40 * 1024 * 1024
    assert router.decide(make_call()).serve is Side.CANDIDATE
    server.body = NONE
    proxy.weather(SOUND)
    decide_until(router, lambda decision: decision.serve is Side.LEGACY)


def test_an_answer_that_drips_is_given_up(
    router: UnleashRouter, proxy: TcpProxy, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that sends a byte now and then, so that no read times out, does not stop the polling."""
    monkeypatch.setattr(flags.server, "POLL_SECONDS", 0.3)
    proxy.weather(Fault(answer=http_answer(b" ", times=None), pause=0.02))
    eventually(lambda: "not complete within" in str(router.status().error))
    seen = len(proxy.connections)
    eventually(lambda: len(proxy.connections) > seen + 1)
    server.body = NONE
    proxy.weather(SOUND)
    decide_until(router, lambda decision: decision.serve is Side.LEGACY)


def test_a_redirect_is_not_followed(router: UnleashRouter, proxy: TcpProxy) -> None:
    """Neither the polls nor the token go wherever an answer points to."""
    with scripted_server() as elsewhere:
        elsewhere.body = NONE
        proxy.weather(Fault(answer=http_answer(b"", status=307, Location=f"{elsewhere.url}/api/client/features")))
        eventually(lambda: "status 307" in str(router.status().error))
        assert router.decide(make_call()).serve is Side.CANDIDATE
        assert elsewhere.headers_seen == []


@pytest.mark.parametrize("cut", range(0, 300, 37))
def test_a_cut_answer_changes_nothing(router: UnleashRouter, proxy: TcpProxy, server: ScriptedServer, cut: int) -> None:
    """Wherever an answer is cut off, whether its length was announced or not, nothing of it counts."""
    server.body = NONE + " " * 300
    whole = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + server.body.encode()
    proxy.weather(Fault(answer=lambda: iter([whole[: 38 + cut]])) if cut < len(NONE) else SOUND)
    seen = len(proxy.connections)
    eventually(lambda: len(proxy.connections) > seen + 1)
    if cut < len(NONE):
        assert router.decide(make_call()).serve is Side.CANDIDATE
    else:
        decide_until(router, lambda decision: decision.serve is Side.LEGACY)


@pytest.mark.parametrize("hours", [-24, -1, 1, 24])
def test_a_jump_of_the_wall_clock_is_not_noticed(router: UnleashRouter, server: ScriptedServer, hours: int) -> None:
    """A time of day that is set back or forth does not delay a flip, nor make fresh flags stale."""
    with wall_clock_off_by(hours * 3600):
        server.saw_another_poll()
        server.body = NONE
        began = time.monotonic()
        decision = decide_until(router, lambda decision: decision.serve is Side.LEGACY)
        assert time.monotonic() - began < 5
        assert decision.reason is not Reason.STALE
        assert router.status().healthy


def test_without_descriptors_the_flags_go_on(router: UnleashRouter, server: ScriptedServer) -> None:
    """A process that has no descriptor left for a poll keeps its last flags, says so, and polls once it has one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        eventually(lambda: router.status().error is not None)
        assert router.decide(make_call()).serve is Side.CANDIDATE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    server.body = NONE
    decide_until(router, lambda decision: decision.serve is Side.LEGACY)


@contextlib.contextmanager
def wall_clock_off_by(seconds: float) -> Iterator[None]:
    """Set the time of day as every module of this process reads it; the monotonic clocks go on."""
    real_time, real = time.time, dt.datetime

    class Shifted(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Shifted:
            return cls.fromtimestamp(real_time() + seconds, tz)

    patched = [
        module for name, module in list(sys.modules.items()) if getattr(module, "datetime", None) is real and name
    ]
    try:
        time.time = lambda: real_time() + seconds
        for module in patched:
            module.datetime = Shifted  # type: ignore[attr-defined]  # what imported it by this name
        yield
    finally:
        time.time = real_time
        for module in patched:
            module.datetime = real  # type: ignore[attr-defined]  # as above


def test_the_credentials_of_a_url_are_used_and_those_of_netrc_are_not(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token goes as it was given; without one the user of the URL counts; a `~/.netrc` never does."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password planted\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    bounds = HttpBounds(timeout=2.0, seconds=5.0, max_bytes=10_000_000)
    address = f"{server.url}/api/client/features"
    seen = []
    for url, headers in (
        (address, {"Authorization": "token"}),
        (address.replace("://", "://user:word@"), {"Authorization": "token"}),
        (address.replace("://", "://user:word@"), {}),
        (address, {}),
    ):
        ask("GET", url, headers=headers, bounds=bounds)
        seen.append({name.lower(): value for name, value in server.headers_seen[-1].items()}.get("authorization"))
    assert seen == ["token", "token", "Basic dXNlcjp3b3Jk", None]
