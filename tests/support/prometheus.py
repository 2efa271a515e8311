"""A real Prometheus server for the tests, on loopback."""

from __future__ import annotations

import json
import shutil
import signal
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.unleash_programs import REPOSITORY, Process, free_port, wait_until

SCRAPE_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusServer:
    """A running server.

    Attributes:
        url: its address.
    """

    url: str
    _process: Process = field(repr=False)

    def stop(self) -> None:
        """Stop it; its data stay."""
        self._process.stop()

    def ask(self, query: str) -> list[Any]:
        """The vector that a query gives at this moment."""
        address = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310  # a loopback address
            result: list[Any] = json.load(answer)["data"]["result"]
            return result


MakePrometheus = Callable[..., PrometheusServer]


@pytest.fixture
def make_prometheus(tmp_path: Path) -> Iterator[MakePrometheus]:
    """Makes servers that scrape these ports, and follow these rules if there are any.

    That one cannot be started is an error, not a reason to skip.
    """
    servers: list[PrometheusServer] = []

    def make(ports: Sequence[int], *, rules: Path | None = None) -> PrometheusServer:
        servers.append(_start(tmp_path / f"prometheus-{len(servers)}", ports, rules))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


def _start(folder: Path, ports: Sequence[int], rules: Path | None) -> PrometheusServer:
    folder.mkdir()
    targets = [f"127.0.0.1:{port}" for port in ports]
    configuration = {
        "global": {
            "scrape_interval": f"{int(SCRAPE_SECONDS * 1000)}ms",
            "scrape_timeout": "500ms",
            "evaluation_interval": "1s",
        },
        "rule_files": [] if rules is None else [str(rules)],
        "scrape_configs": [{"job_name": "monolith", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    process = Process(
        command=[
            str(_program()),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
            "--log.level=error",
        ],
        environment={},
        log=folder / "prometheus.log",
        stop_signal=signal.SIGTERM,
    )
    process.start()
    wait_until(lambda: _is_ready(f"http://{address}"), process)
    return PrometheusServer(url=f"http://{address}", _process=process)


def _program() -> Path:
    found = shutil.which("prometheus") or REPOSITORY / "build" / "prometheus" / "usr" / "bin" / "prometheus"
    if not Path(found).exists():
        pytest.fail("no prometheus found; `make test` fetches it (sh tests/install_prometheus.sh)")
    return Path(found)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=1) as answer:  # noqa: S310  # a loopback address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
