"""What `start()` leaves behind: nothing that a fork could cut off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.processes.conftest import Program
from tests.support.monolith import SetEnvironment
from tools.sandbox import RunningSandbox


class _Everything(BaseHTTPRequestHandler):
    """Answers as an Unleash server without flags, and as a receiver of telemetry."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b'{"version": 2, "features": []}')

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"")

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Say nothing."""


@pytest.fixture
def services() -> Iterator[str]:
    """The address of something that answers to Unleash's and to OpenTelemetry's clients."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Everything) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.usefixtures("configured")
def test_no_thread_imports_before_the_first_call(
    services: str, set_environment: SetEnvironment, program: Program
) -> None:
    """With all that can be configured, the threads that `start()` leaves only wait, and nothing of them imports.

    Earlier work, the guard, the flags and the ledger begin with `begin` or the first call; no thread imports then, too.
    """
    set_environment(
        UNLEASH_URL=f"{services}/api",
        UNLEASH_API_TOKEN="token",  # of no real server
        SHIM_PROMETHEUS_PORT="0",
        OTEL_EXPORTER_OTLP_ENDPOINT=services,
        OTEL_METRIC_EXPORT_INTERVAL="100",
        OTEL_BSP_SCHEDULE_DELAY="100",
    )
    said = program(
        """
        from urllib.request import urlopen
        from tools.application import app
        from tools.providers.kimi import kimi_files
        imports = []
        def look(event, values):
            if event == "import" and threading.current_thread() is not threading.main_thread():
                imports.append((threading.current_thread().name, values[0]))
        sys.addaudithook(look)
        installation = app.start()
        names = threads()
        urlopen(installation.telemetry.prometheus_url).read()
        time.sleep(1)
        assert threads() == names
        before, imports = imports, []
        app.begin()
        time.sleep(1)
        upload("first")
        time.sleep(1)
        later = threads()
        app.stop()
        print(json.dumps({"threads": list(names), "later": list(later), "imports": before, "imports_later": imports}))
        """
    )
    assert said["imports"] == []
    assert said["imports_later"] == []
    own = {"flags-poll", "migration-guard", "migration-ledger", "migration-shadow", "process-metrics"}
    assert own & set(said["threads"]) == {"flags-poll"}
    assert own <= set(said["later"])


def test_a_child_forked_right_after_start_uploads(configured: RunningSandbox, program: Program) -> None:
    """As `gunicorn --preload` forks: eight workers, one after the other, and each one's first upload ends."""
    codes = program(
        """
        from tools.application import app
        app.start()
        children = []
        for number in range(8):
            children.append(forked(lambda: upload(number)))
            time.sleep(0.05)
        print(json.dumps(ended(children)))
        """
    )
    assert codes == [0] * 8
    assert len(configured.state()["kimi"]["files"]) == 8


@pytest.mark.parametrize("percent", [0, 100])
def test_a_child_forked_during_start_uploads(
    configured: RunningSandbox, program: Program, set_share: Callable[[int], None], percent: int
) -> None:
    """A fork waits until a start in another thread is over, and the child's upload ends, whichever side serves it."""
    set_share(percent)
    codes = program(
        """
        from tools.application import app
        starting = threading.Thread(target=app.start)
        starting.start()
        children = []
        for number in range(6):
            children.append(forked(lambda: upload(number)))
            time.sleep(0.01)
        starting.join()
        print(json.dumps(ended(children)))
        """
    )
    assert codes == [0] * 6
    assert len(configured.state()["kimi"]["files"]) == 6


@pytest.mark.usefixtures("configured")
def test_a_process_without_calls_begins_when_told(program: Program) -> None:
    """`Application.begin` begins what else begins with the first call; a child begins again, with its own."""
    said = program(
        """
        from tools.application import app
        app.start()
        begun = {"flags-file", "migration-guard", "migration-shadow"}
        assert threads() & begun == {"flags-file"}
        app.begin()
        until(lambda: begun <= threads())
        def begin():
            assert not begun & threads()
            app.begin()
            until(lambda: begun <= threads())
        print(json.dumps(ended([forked(begin)])))
        """
    )
    assert said == [0]
