"""Supabase's tables for the tests: the official npm package `@supabase/lite` in front of a real PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.support.postgres import Postgres, postgres
from tests.support.unleash_programs import REPOSITORY, Process, free_port, install, wait_until
from tools.cli.schema import schema_steps

_INSTALLATION = REPOSITORY / "build" / "supabase_lite"
_OLDEST_NODE = 22

_CONFIGURATION = """
[api]
port = {port}
[db]
driver = "postgres"
url = "{database}"
[auth]
enabled = false
publishable_key = "{public_key}"
secret_key = "{key}"
"""


_ROLES = """
create role anon nologin; create role authenticated nologin; create role service_role nologin bypassrls;
grant usage on schema public to anon, authenticated, service_role;
"""
"""As every project of Supabase has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupabaseTables:
    """A running server with this project's tables.

    Attributes:
        url: its address, as that of a project.
        key: of the service role.
        public_key: what a browser has.
        database: what is behind it.
    """

    url: str
    key: str = "sb_secret_of_the_tests"
    public_key: str = "sb_publishable_of_the_tests"
    database: Postgres
    _node: Process = field(repr=False)

    def stop(self) -> None:
        """Stop the server; its data stay."""
        self._node.stop()

    def start(self) -> None:
        """Start the server at the same address, and wait until it answers; it learns of tables only then."""
        self._node.start()
        wait_until(self._answers, self._node)

    def migrate(self, *, lease_seconds: float = 60.0) -> None:
        """Make the tables; those that are there stay. A claim then holds so long without being renewed."""
        for migration in schema_steps():
            self.database.run(migration.sql.replace("interval '60 seconds'", f"interval '{lease_seconds} seconds'"))

    def _answers(self) -> bool:
        """Whether it asks its database. The first question is the slowest: it prepares a lot."""
        question = urllib.request.Request(f"{self.url}/rest/v1/upload_intents", headers={"apikey": self.key})  # noqa: S310 - a loopback address
        try:
            with urllib.request.urlopen(question, timeout=5):  # noqa: S310 - likewise
                return True
        except urllib.error.HTTPError as answer:
            return answer.code == HTTPStatus.NOT_FOUND  # it has looked, and there is no such table
        except (urllib.error.URLError, OSError):
            return False


@pytest.fixture(scope="session")
def supabase_server() -> Iterator[SupabaseTables]:
    """A real database with the interface of Supabase, one for the session. That it cannot be started is an error."""
    node = install(_INSTALLATION, oldest_node=_OLDEST_NODE)
    with tempfile.TemporaryDirectory(prefix="supabase-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        database = stack.enter_context(postgres(folder))
        yield stack.enter_context(_server(node, folder, database))


@pytest.fixture
def supabase_tables(supabase_server: SupabaseTables) -> SupabaseTables:
    """The same, with empty tables and ordinary leases."""
    supabase_server.migrate()
    supabase_server.database.run("truncate upload_intents, provider_file_uploads restart identity")
    return supabase_server


@contextlib.contextmanager
def _server(node: Path, folder: Path, database: Postgres) -> Iterator[SupabaseTables]:
    port = free_port()
    process = Process(
        command=[
            str(node),
            str(_INSTALLATION / "node_modules" / "@supabase" / "lite" / "dist" / "cli" / "index.js"),
            "start",
            "--no-admin",
            "--config",
            str(folder / "config.toml"),
        ],
        environment={
            "PATH": os.defpath,
            "HOME": str(folder),
            "TZ": "UTC",
            "LITE_TELEMETRY": "0",
            "NODE_ENV": "production",
        },
        log=folder / "supabase.log",
        stop_signal=signal.SIGTERM,
    )
    server = SupabaseTables(url=f"http://127.0.0.1:{port}", database=database, _node=process)
    (folder / "config.toml").write_text(
        _CONFIGURATION.format(port=port, database=database.url, key=server.key, public_key=server.public_key)
    )
    try:
        database.run(_ROLES)
        server.migrate()
        server.start()
        yield server
    finally:
        server.stop()
