"""Processes of one service: real ones, each with its own telemetry, decided by one real Unleash server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from migration import Side
from tests.support.unleash import UnleashServer
from tests.support.unleash_programs import REPOSITORY


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One process.

    Attributes:
        instance: its name.
        port: where it can be scraped.
        log: a line for each of its calls.
    """

    instance: str
    port: int
    log: Path
    process: subprocess.Popen[str]

    def calls(self, *, since: float = 0.0) -> list[tuple[float, Side, bool]]:
        """When each call ended, who served it, and whether it went well."""
        lines = self.log.read_text().splitlines()[:-1]  # the last one may be half written
        found = [(float(at), Side(side), result == "ok") for at, side, result in map(str.split, lines)]
        return [call for call in found if call[0] >= since]

    def stop(self) -> None:
        """Kill it."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


StartMember = Callable[..., Member]


@pytest.fixture
def start_member(unleash_server: UnleashServer, tmp_path: Path) -> Iterator[StartMember]:
    """Starts processes that call the function of a migration until the end of the test."""
    members: list[Member] = []

    def start(name: str, *, faulty: float = 0.0, rate: int = 100, home: Path | None = None) -> Member:
        instance = f"web-{len(members) + 1}"
        log = tmp_path / f"{instance}.log"
        process = subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, "-m", "tests.support.fleet_program", name, instance, str(rate), str(faulty), str(log)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
            env={
                "PATH": os.defpath,
                "UNLEASH_URL": unleash_server.url,
                "UNLEASH_API_TOKEN": unleash_server.backend_token,
                "SHIM_HOME": str(home or tmp_path / instance),
            },
        )
        assert process.stdout is not None
        port = urlsplit(process.stdout.readline()).port
        assert port is not None
        members.append(Member(instance=instance, port=port, log=log, process=process))
        return members[-1]

    yield start
    for member in members:
        member.stop()
