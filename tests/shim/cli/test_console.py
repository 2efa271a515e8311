"""`shim console`, in a process of its own."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.command_line import CommandLine, MakeCommandLine

TOKEN = "sixteen-characters-and-more"


@contextmanager
def started(shim: CommandLine, *arguments: object) -> Iterator[str]:
    """The first line that it prints; it must end well on Ctrl-C, and say nothing bad."""
    with shim.start("console", "--port", 0, *arguments) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline()
        finally:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert TOKEN not in err


def state(url: str) -> Any:
    with urllib.request.urlopen(f"{url.partition('#')[0]}api/state", timeout=10) as answer:  # noqa: S310  # loopback
        return json.load(answer)


def test_it_prints_its_address_with_a_token(shim: CommandLine) -> None:
    """The token stands behind the `#`, is another one each time, and what is served is this machine's."""
    tokens = set()
    for _ in range(2):
        with started(shim, "--json") as line:
            url = json.loads(line)["url"]
            assert url.startswith("http://127.0.0.1:")
            tokens.add(url.partition("#token=")[2])
            assert state(url)["flags"]["location"] == "SHIM_HOME/flags.json"
    assert len(tokens) == 2
    assert min(map(len, tokens)) >= 43


def test_a_given_token_is_not_printed(command_line: MakeCommandLine) -> None:
    """What the environment says stays there."""
    with started(command_line(SHIM_CONSOLE_TOKEN=TOKEN)) as line:
        assert TOKEN not in line
        assert line.startswith("http://127.0.0.1:")


def test_a_short_token_is_refused(command_line: MakeCommandLine) -> None:
    """A token that could be guessed is a wrong configuration; the message names the variable, not the value."""
    refused = command_line(SHIM_CONSOLE_TOKEN="short")("console", "--port", 0)
    assert refused.code == 3
    assert "SHIM_CONSOLE_TOKEN" in refused.err
    assert "short" not in refused.err.replace("shorter", "").replace("too short", "")


def test_a_port_that_is_taken_is_said(shim: CommandLine) -> None:
    """One line says which, and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = shim("console", "--port", port)
    assert refused.code == 1
    assert str(port) in refused.err
    assert "--port" in refused.err
    assert len(refused.err.splitlines()) == 1
