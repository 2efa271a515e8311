"""Examples that need something around them (a server, a client, a monolith) are run as they stand in the documents."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from tests.migration.helpers import eventually
from tests.support.documents import ROOT, Block, blocks
from tests.support.supabase import SupabaseTables
from tests.support.unleash import UnleashServer

SECONDS = 120.0
HERE = "run by tests/documents/test_examples.py"

LEGACY = "def render(name: str) -> str:\n    return f'legacy: {name}'\n"
CANDIDATE = "async def render_async(name: str) -> str:\n    return f'{}: {name}'\n"

SHOP = """
from migration import Migration, ReadOnly

MIGRATIONS = {
    "images.thumbs:render": Migration(
        name="new-thumbnails", candidate="images.thumbs_v2:render_async", replay=ReadOnly()
    )
}
"""
"""The declaration that the page leaves out; rendering has no effect, as in the example of the invoices."""


@pytest.fixture
def monolith(tmp_path: Path) -> Path:
    """A folder with the function of the examples, and with its replacement."""
    images = tmp_path / "images"
    images.mkdir()
    (images / "__init__.py").touch()
    (images / "thumbs.py").write_text(LEGACY)
    (images / "thumbs_v2.py").write_text(CANDIDATE.replace("{}", "async", 1))
    return tmp_path


def example(document: str, language: str) -> Block:
    """The one block of a document that is run here."""
    [found] = [each for each in blocks(ROOT / document) if each.marker == HERE and each.language == language]
    return found


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """Of a shell in which the project is installed, and nothing is configured."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    common = {
        "PATH": path,
        "HOME": str(folder),
        "SHIM_HOME": str(folder / "state"),
        "SHIM_APP": "tools.application:app",
    }
    roots = [folder, ROOT, ROOT / "examples" / "invoices"]
    return common | {"PYTHONPATH": os.pathsep.join(map(str, roots))} | variables


def run(command: list[str], folder: Path, **variables: str) -> str:
    """Run a program to its end; it must succeed."""
    done = subprocess.run(  # noqa: S603  # the project's own documents
        command,
        cwd=folder,
        env=environment(folder, **variables),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_few_lines_that_go_into_a_monolith(monolith: Path, unleash_server: UnleashServer) -> None:
    """README.md: the flag on a real server decides who serves, for callers that wait and for those that await."""
    lines = example("README.md", "python").text
    flag = "new-thumbnails"
    unleash_server.admin.ensure(flag)
    unleash_server.admin.set_percentage(flag, 100)
    program = monolith / "program.py"
    program.write_text(
        "import asyncio, images.thumbs\n\ndef main():\n    print(images.thumbs.render('cat'))\n"
        f"    print(asyncio.run(images.thumbs.render.aio('dog')))\n\n{lines}"
    )

    def is_served_by(side: str) -> bool:
        server = {"UNLEASH_URL": unleash_server.url, "UNLEASH_API_TOKEN": unleash_server.backend_token}
        return run([sys.executable, str(program)], monolith, **server) == f"{side}: cat\n{side}: dog\n"

    assert eventually(lambda: is_served_by("async"), 60)  # the server tells of a change after a second or so
    unleash_server.admin.turn_off(flag, "the test goes on")
    assert eventually(lambda: is_served_by("legacy"), 60)


def test_the_console_says_where_it_is_and_ends(tmp_path: Path) -> None:
    """console.md: the command serves the page at the address that it prints, until Ctrl-C."""
    command = example("docs/console.md", "sh").text.replace("shim console", "exec shim console --port 0")
    with subprocess.Popen(  # noqa: S603  # the project's own document
        ["/bin/bash", "-c", command],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as shim:
        try:
            assert shim.stdout is not None
            address = shim.stdout.readline().partition("#token=")
            assert address[2]
            with urllib.request.urlopen(address[0], timeout=SECONDS) as page:  # noqa: S310  # loopback
                assert b"Roll back now" in page.read()
        finally:
            shim.send_signal(signal.SIGINT)
            shim.communicate(timeout=SECONDS)
    assert shim.returncode == 0


async def test_the_configuration_of_an_assistant(tmp_path: Path) -> None:
    """mcp.md: a client that is configured so finds the tools."""
    [server] = json.loads(example("docs/mcp.md", "json").text)["mcpServers"].values()
    assert server["env"].keys() == {"SHIM_APP", "SHIM_ALLOWED_ROOTS"}
    parameters = StdioServerParameters(
        command=server["command"],
        args=server["args"],
        env=environment(tmp_path, **(server["env"] | {"SHIM_ALLOWED_ROOTS": str(tmp_path)})),
        cwd=str(tmp_path),
    )
    async with Client(parameters, read_timeout_seconds=SECONDS) as client:
        found = {tool.name for tool in (await client.list_tools()).tools}
    assert found == {"smart_file_query", "migration_status", "migration_explain"}


def test_the_tables_of_the_shared_journal(tmp_path: Path, supabase_tables: SupabaseTables) -> None:
    """shared-journal.md: what is printed and what is piped into psql is the same, and makes the tables."""
    supabase_tables.database.run("create database documented")
    database = supabase_tables.database.named("documented")
    path = os.pathsep.join([str(Path(sys.executable).parent), str(database.programs), os.environ["PATH"]])
    printed = run(
        ["bash", "-euo", "pipefail", "-c", example("docs/shared-journal.md", "sh").text],
        tmp_path,
        PATH=path,
        DATABASE_URL=database.url,
    )
    assert "create table" in printed
    assert database.run("select count(*) from upload_intents") == "0"


@pytest.mark.parametrize(("replacement", "code"), [("legacy", 0), ("async", 1)])
def test_the_plugin_compares_what_a_test_calls(monolith: Path, replacement: str, code: int) -> None:
    """migration-stages.md: the marked test passes while both sides agree, and fails when they do not."""
    (monolith / "images" / "thumbs_v2.py").write_text(CANDIDATE.replace("{}", replacement, 1))
    conftest, _, test = example("docs/migration-stages.md", "python").text.partition("\n\n\n")
    option = re.search(r"migrations = (\S+)", conftest)
    assert option
    shop = monolith / "shop"
    shop.mkdir()
    (shop / "__init__.py").touch()
    (shop / "migrations.py").write_text(SHOP)
    (monolith / "pytest.ini").write_text(f"[pytest]\nmigrations = {option[1]}\n")
    (monolith / "conftest.py").write_text(conftest)
    (monolith / "test_thumbnails.py").write_text(f"import pytest\nimport images.thumbs\n{test}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=monolith,
        env=environment(monolith),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert ("result" in done.stdout) is bool(code)
