"""Processes whose threads are greenlets: legacy serves every call, and nothing hangs, whatever the flags say."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.migration.helpers import eventually
from tests.processes.conftest import Program
from tools.sandbox import RunningSandbox

REQUESTS = 16
SECONDS = 30.0

SERVED = """
from pathlib import Path
from tools.application import app as shim
from tools.providers.kimi import kimi_files
from tools.storage import get_storage

shim.start()

def application(environ, start_response):
    path = Path(environ["PATH_INFO"].strip("/") + ".txt")
    path.write_text(path.name)
    answer = kimi_files.upload_via_supabase_gateway_kimi(str(path), get_storage())["kimi_file_id"].encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]
"""


@contextmanager
def gunicorn(folder: Path, *arguments: str) -> Iterator[tuple[str, Path]]:
    """A server with two workers; its address, and its log. It must end by itself when it is asked to."""
    (folder / "served.py").write_text(SERVED)
    (folder / "gunicorn.conf.py").write_text("from gevent import monkey\nmonkey.patch_all()\n")
    log = folder / "gunicorn.log"
    command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--workers", "2", *arguments, "served"]
    with log.open("w") as stderr, subprocess.Popen(command, cwd=folder, stderr=stderr) as server:  # noqa: S603  # our own code
        try:
            assert eventually(lambda: "Listening at" in log.read_text(), SECONDS)
            yield re.findall(r"Listening at: (\S+)", log.read_text())[0], log
            server.send_signal(signal.SIGTERM)
            assert server.wait(SECONDS) == 0
        finally:
            server.kill()


@pytest.mark.parametrize(("percent", "more"), [(0, ["--preload"]), (100, [])])
def test_gunicorn_with_gevent_answers_every_request(
    configured: RunningSandbox, set_share: Callable[[int], None], tmp_path: Path, percent: int, more: list[str]
) -> None:
    """Each worker starts the application, or they are forked from one that did; gevent patches before that."""
    set_share(percent)
    with gunicorn(tmp_path, "--worker-class", "gevent", *more) as (address, log), ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda number: ask(f"{address}/file-{number}"), range(REQUESTS)))
    assert len(ids) == REQUESTS
    assert len(configured.state()["kimi"]["files"]) == REQUESTS
    assert "greenlets of gevent: no migration is put in place, so legacy serves every call" in log.read_text()


def ask(address: str) -> str:
    with urlopen(address, timeout=SECONDS) as answer:  # noqa: S310  # our own server
        return str(answer.read(), "ascii")


PATCHES = {
    "gevent": "import gevent.monkey; gevent.monkey.patch_all()\nfrom gevent import sleep, spawn",
    "eventlet": "import eventlet; eventlet.monkey_patch()\nfrom eventlet import sleep, spawn",
}


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(("percent", "patched"), [(0, "gevent"), (100, "gevent"), (100, "eventlet")])
def test_calls_of_greenlets_are_served_by_legacy(
    program: Program, set_share: Callable[[int], None], patched: str, percent: int
) -> None:
    """Also beside an event loop of the host in another greenlet, awaited, and compared; `stop()` comes back."""
    set_share(percent)
    began = time.monotonic()
    said = program(
        f"""
        {PATCHES[patched].replace(chr(10), chr(10) + " " * 8)}
        import asyncio, logging
        logging.basicConfig(stream=sys.stderr, level="WARNING")
        from tools.application import app
        from tools.providers.kimi import kimi_files
        app.start()
        done = []
        def one(number):
            done.append(upload(number)["kimi_file_id"])
        async def host():
            await asyncio.sleep(1)
        spawn(asyncio.run, host())
        sleep(0.1)
        for number in range(8):
            spawn(one, number)
        while len(done) < 8: sleep(0.05)
        app.stop()
        print(json.dumps(done))
        """
    )
    assert len(set(said)) == 8
    assert time.monotonic() - began < SECONDS
