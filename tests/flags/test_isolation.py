"""What a router keeps to itself: its token, its outages, its files, its flags, its process."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from flags import UnleashRouter
from migration import Side
from tests.flags.helpers import (
    NAME,
    NONE,
    TOKEN,
    ScriptedServer,
    eventually,
    make_call,
    scripted_server,
)


def test_the_token_is_never_told(
    server: ScriptedServer,
    make_router: Callable[[], UnleashRouter],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """No log line at any level, no output and no status contains the token or its secret part."""
    caplog.set_level(logging.DEBUG)
    routers = [make_router() for _ in range(3)]
    server.status = 401
    server.saw_another_poll()
    said = [caplog.text, *capfd.readouterr(), *(str(router.status()) for router in routers), repr(routers)]
    assert caplog.records
    assert not [text for text in said if TOKEN in text or "planted" in text or "a-plan" in text]


def test_an_outage_is_logged_once(
    server: ScriptedServer, make_router: Callable[[], UnleashRouter], caplog: pytest.LogCaptureFixture
) -> None:
    """An outage is one warning and its end one line, not a traceback at every poll, whatever its handlers take."""
    caplog.set_level(logging.INFO)
    caplog.handler.setLevel(logging.NOTSET)  # as `logging.basicConfig` leaves its handler
    router = make_router()
    caplog.clear()
    server.status = 500
    for _ in range(3):
        server.saw_another_poll()
    server.status = 200
    eventually(lambda: router.status().error is None)
    said = [record for record in caplog.records if record.name != "flags"]
    assert [record.levelname for record in caplog.records if record.name == "flags"] == ["WARNING", "INFO"]
    assert [record.message for record in said if record.exc_info or record.levelno != logging.INFO] == []


def test_nothing_is_written(
    server: ScriptedServer, make_router: Callable[[], UnleashRouter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No cache folder is made, so none can be unwritable, shared or stale."""
    for variable in ("HOME", "XDG_CACHE_HOME", "TMPDIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    router = make_router()
    server.saw_another_poll()
    assert router.decide(make_call()).serve is Side.CANDIDATE
    assert list(tmp_path.iterdir()) == []


def test_two_routers_of_two_servers(server: ScriptedServer, make_router: Callable[..., UnleashRouter]) -> None:
    """Two routers in one process that ask two servers keep their flags apart."""
    with scripted_server() as other:
        other.body = NONE
        first, second = make_router(), make_router(other.url)
        assert first.decide(make_call()).serve is Side.CANDIDATE
        assert second.decide(make_call()).serve is Side.LEGACY
        server.saw_another_poll()
        assert first.status().flags == second.status().flags == (NAME,)
        assert second.decide(make_call()).serve is Side.LEGACY


def test_fork(server: ScriptedServer) -> None:
    """After a fork the child polls by itself, under an identity of its own."""
    script = """
        import os, sys
        from flags import UnleashRouter
        from tests.flags.helpers import decide_until, make_call
        router = UnleashRouter.from_server(sys.argv[1], "token", refresh_seconds=0.05)
        assert router.decide(make_call()).serve == "candidate"
        child = os.fork()
        if child == 0:
            assert router.decide(make_call()).serve == "candidate", router.status()
            print("ready", flush=True)
            decide_until(router, lambda decision: decision.serve == "legacy")
            router.close()
            sys.exit(0)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", textwrap.dedent(script), server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    server.body = NONE
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert len({seen["unleash-instanceid"] for seen in server.headers_seen}) == 2
