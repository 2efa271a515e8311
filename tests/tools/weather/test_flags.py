"""Flags in bad weather: a real Unleash server behind a line that fails, asked by the monolith's own upload function.

Every call is served, and a flip to off is missed no longer than the definitions may be old.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flags import Freshness, UnleashFlagAdmin, UnleashRouter
from migration import Call, Decision, Reason, Runtime, Side, install, uninstall
from migration.store import Ledger
from observability import Telemetry, setup
from observability.testing import Capture
from tests.migration.helpers import eventually
from tests.support.tcp_proxy import SOUND, Blow, Fault, TcpProxy, Way, http_answer, tcp_proxy
from tests.support.unleash import UnleashServer
from tests.tools.weather.bench import TARGETS
from tools.async_file_upload_refactored import cleanup_http_session
from tools.migrations import MIGRATIONS
from tools.providers.kimi import kimi_files
from tools.sandbox import RunningSandbox
from tools.settings import get_settings
from tools.storage import get_storage

FLAG = "async-upload-kimi"
FRESHNESS = Freshness(doubtful_after=0.5, dead_after=1.5)
SERVERS_OWN_SECONDS = 1.2
"""The server itself learns of a flip within a second."""
REFUSED = Fault(answer=lambda: iter(()))

WEATHER = {
    "resets": Fault(blow=Blow.RESET),
    "hangs before the question": Fault(blow=Blow.STALL),
    "hangs in the answer": Fault(blow=Blow.STALL, way=Way.RESPONSE, after=300),
    "ends in the answer": Fault(blow=Blow.CLOSE, way=Way.RESPONSE, after=500),
    "half-closes": Fault(blow=Blow.HALF_CLOSE, way=Way.RESPONSE, after=40),
    "crawls": Fault(bytes_per_second=400.0),
    "closes at once": REFUSED,
    "401": Fault(answer=http_answer(b"{}", status=401)),
    "500": Fault(answer=http_answer(b"{}", status=500)),
    "garbage": Fault(answer=http_answer(b"<html>hello</html>")),
    "enormous JSON": Fault(answer=http_answer(b'{"version": 2, "features": [' + b" " * 1_000_000, times=None)),
    "drips": Fault(answer=http_answer(b" ", times=None), pause=0.05),
}

MAY_STILL_ANSWER = {"hangs in the answer", "ends in the answer", "half-closes", "crawls"}
"""That nothing has changed is a short answer, which arrives."""


@dataclass(slots=True)
class Uploads:
    """The monolith, and what was decided for each of its calls: when that began, and what it was."""

    proxy: TcpProxy
    router: UnleashRouter
    folder: Path
    decided: list[tuple[float, Decision]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def decide(self, call: Call) -> Decision:
        began = time.monotonic()
        decision = self.router.decide(call)
        self.decided.append((began, decision))
        return decision

    def upload(self) -> Decision:
        """Upload one file, which must succeed, and return what was decided."""
        path = self.folder / f"{next(self.numbers)}-{os.getpid()}.txt"
        path.write_text(path.name)
        answer = kimi_files.upload_via_supabase_gateway_kimi(path, get_storage())
        assert answer["kimi_file_id"]
        return self.decided[-1][1]

    def upload_until(self, wanted: Callable[[Decision], bool], seconds: float = 15.0) -> Decision:
        """Upload until a decision is as wanted."""
        deadline = time.monotonic() + seconds
        while not wanted(decision := self.upload()):
            assert time.monotonic() < deadline, decision
        return decision


@pytest.fixture
def admin(unleash_server: UnleashServer) -> UnleashFlagAdmin:
    admin = unleash_server.admin
    admin.ensure(FLAG)
    admin.set_percentage(FLAG, 100)
    admin.turn_on(FLAG)
    return admin


@pytest.fixture
def proxy(unleash_server: UnleashServer) -> Iterator[TcpProxy]:
    with tcp_proxy(unleash_server.url) as proxy:
        yield proxy


@pytest.fixture
def capture() -> Capture:
    return Capture()


@pytest.fixture
def uploads(  # noqa: PLR0917  # fixtures
    proxy: TcpProxy,
    unleash_server: UnleashServer,
    admin: UnleashFlagAdmin,  # noqa: ARG001  # the flag is there
    monolith: RunningSandbox,
    capture: Capture,
    tmp_path: Path,
) -> Iterator[Uploads]:
    monolith.set_limits(kimi_max_files=100_000)
    router = UnleashRouter.from_server(
        proxy.through(unleash_server.url),
        unleash_server.backend_token,
        refresh_seconds=0.1,
        request_timeout=0.5,
        freshness=FRESHNESS,
    )
    made = Uploads(proxy, router, tmp_path)
    telemetry = setup(environ={}, capture=capture)
    runtime = Runtime(router=made, observers=[Telemetry(telemetry), Ledger(get_settings().shim_db)])
    runtime.loop.on_close(cleanup_http_session)
    install(TARGETS["kimi"], MIGRATIONS[TARGETS["kimi"]], runtime=runtime)
    made.upload_until(lambda decision: decision.serve is Side.CANDIDATE)
    yield made
    runtime.close()
    uninstall(TARGETS["kimi"])
    router.close()
    telemetry.shutdown()


@pytest.mark.parametrize("weather", list(WEATHER))
def test_a_flip_to_off_is_never_missed_for_longer_than_the_bound(
    uploads: Uploads, admin: UnleashFlagAdmin, weather: str, say: Callable[[str], None]
) -> None:
    """Whatever the line does, legacy serves once the last sound answer is too old; every call is served meanwhile."""
    uploads.proxy.weather(WEATHER[weather])
    admin.turn_off(FLAG, "bad weather")
    flipped = time.monotonic()
    bound = FRESHNESS.dead_after + (SERVERS_OWN_SECONDS if weather in MAY_STILL_ANSWER else 0.0)
    while time.monotonic() < flipped + bound + 0.5:
        uploads.upload()
    missed = [began - flipped for began, decision in uploads.decided if decision.serve is Side.CANDIDATE]
    assert max(missed) <= bound
    say(f"the last call on the new path began {max(0.0, *missed):.2f} s after the flip, of {bound:g} s")
    assert uploads.router.status().error is not None
    assert not uploads.router.status().healthy
    uploads.proxy.weather(SOUND)
    uploads.upload_until(lambda decision: decision.reason is Reason.DISABLED)
    admin.turn_on(FLAG)
    uploads.upload_until(lambda decision: decision.serve is Side.CANDIDATE and decision.reason is not Reason.STALE)


def test_nobody_listens(uploads: Uploads) -> None:
    """A server that has gone is missed for as long as its word counts, and followed again when it is back."""
    uploads.proxy.refuse()
    decision = uploads.upload_until(lambda decision: decision.serve is Side.LEGACY)
    assert (decision.reason, decision.error) == (Reason.STALE, "FlagsStaleError")
    uploads.proxy.accept()
    uploads.upload_until(lambda decision: decision.serve is Side.CANDIDATE)


def test_staleness_is_seen(uploads: Uploads, capture: Capture) -> None:
    """Decisions on doubtful and on dead flags are marked on their spans, in the ledger, and so in `shim status`."""

    def doubtful() -> bool:
        """Flags are in doubt for a second, which a slow machine may spend on one upload."""
        uploads.proxy.weather(SOUND)
        uploads.upload_until(lambda decision: decision.reason is not Reason.STALE)
        uploads.proxy.weather(Fault(blow=Blow.STALL))
        return uploads.upload_until(lambda decision: decision.reason is Reason.STALE).serve is Side.CANDIDATE

    assert eventually(doubtful, 60)
    uploads.upload_until(lambda decision: decision.reason is Reason.STALE and decision.serve is Side.LEGACY)
    reasons = [span.attributes.get("feature_flag.result.reason") for span in capture.spans() if span.attributes]
    assert "stale" in reasons
    settings = get_settings()
    finished = None

    def shown() -> bool:
        nonlocal finished
        finished = subprocess.run(
            [sys.executable, "-m", "shim.cli", "status", "--json"],
            env={
                "PATH": os.defpath,
                "SHIM_HOME": str(settings.shim_home),
                "UNLEASH_URL": uploads.proxy.through("http://127.0.0.1:1"),
                "UNLEASH_API_TOKEN": "planted",
            },
            capture_output=True,
            check=True,
            text=True,
            timeout=60,
        )
        document = json.loads(finished.stdout)
        last = next(each for each in document["migrations"] if each["migration"] == FLAG)["last_decision"]
        assert not document["flags"]["healthy"]
        assert document["flags"]["error"]
        return bool(last and last["reason"] == "stale" and last["error"] == "FlagsStaleError")

    assert eventually(shown, 30), finished


def test_processes_that_were_forked_follow_a_flip(
    unleash_server: UnleashServer, admin: UnleashFlagAdmin, proxy: TcpProxy
) -> None:
    """Five processes, four of them forked from one that has decided already: a flip reaches every one."""
    script = """
        import os, sys, time
        from flags import UnleashRouter
        from tests.flags.helpers import eventually, make_call
        router = UnleashRouter.from_server(sys.argv[1], sys.argv[2], refresh_seconds=0.2)
        decided = lambda: router.decide(make_call(name=sys.argv[3])).serve
        assert eventually(lambda: decided() == "candidate")
        children = []
        for _ in range(4):
            child = os.fork()
            if child == 0:
                children = []
                break
            children.append(child)
        assert eventually(lambda: decided() == "candidate")
        os.write(1, b"ready\\n")
        eventually(lambda: decided() == "legacy", 30)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        os._exit(int(any(codes)))
    """
    process = subprocess.Popen(  # noqa: S603  # our own program
        [
            sys.executable,
            "-c",
            textwrap.dedent(script),
            proxy.through(unleash_server.url),
            unleash_server.backend_token,
            FLAG,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(5)] == ["ready\n"] * 5
    proxy.cut()
    admin.turn_off(FLAG, "seen by all")
    process.stdout.close()
    assert process.wait(60) == 0
