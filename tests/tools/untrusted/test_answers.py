"""Answers that are meant to hurt, from real servers, to everything that reads an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from flags import server as _flag_server
from shim import prometheus as _prometheus
from shim.http import httpx_tap
from tests.support.monolith import SetEnvironment
from tests.tools.untrusted.clients import CLIENTS, EVERY_CLIENT
from tests.tools.untrusted.hostile import Hostile, bomb, drip, endless, hostile, saying
from tools.engine import delivery
from tools.recovery import service_client
from tools.settings import MEGABYTE
from tools.transport import upload as transport

MOST_TAKEN = 64 * MEGABYTE
"""The longest bound, with what the kernel holds on the way."""

SENT_AGAIN = {"legacy upload to Kimi": 3, "legacy upload to GLM": 4}
"""How often legacy's SDKs send a file whose answer took too long, as after any silence."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "report.txt"
    path.write_text("harmless")
    return path


Aim = Callable[[Hostile], None]


@pytest.fixture
def aim(set_environment: SetEnvironment) -> Aim:
    """Points everything at a server."""

    def change(server: Hostile) -> None:
        set_environment(
            KIMI_API_URL=server.url,
            KIMI_API_KEY="planted-key",
            GLM_API_URL=server.url,
            GLM_API_KEY="planted-id.planted-key",
            SUPABASE_URL=server.url,
            SUPABASE_SERVICE_ROLE_KEY="sb_secret_planted-key",
        )

    return change


@pytest.fixture(autouse=True)
def _small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDKs' bound is lower, so that a test is quick; no time passes between two looks."""
    assert httpx_tap.MAX_ANSWER_BYTES == 128 * MEGABYTE
    monkeypatch.setattr(httpx_tap, "MAX_ANSWER_BYTES", 8 * MEGABYTE)
    monkeypatch.setattr(delivery, "_SECOND_LOOK_SECONDS", 0.0)


def outcome(client: str, server: Hostile, path: Path) -> Exception | None:
    try:
        CLIENTS[client](server.url, path)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the outcome
        return error
    return None


def uploads(server: Hostile) -> int:
    """How often a file was sent to a provider."""
    return server.asked.count("POST /files")


@pytest.mark.parametrize("answer", [endless, bomb])
@pytest.mark.parametrize("client", EVERY_CLIENT)
def test_a_gigabyte_is_not_read(
    client: str, answer: Callable[..., None], path: Path, aim: Aim, say: Callable[[str], None]
) -> None:
    """Plain or packed: each client stops at its bound, says that something is wrong, and sends no file again."""
    before = psutil.Process().memory_info().rss
    with hostile(answer) as server:
        aim(server)
        error = outcome(client, server, path)
    grown = psutil.Process().memory_info().rss - before
    say(f"{len(server.sent)} answers, at most {max(server.sent) / MEGABYTE:.1f} MB taken, {grown / MEGABYTE:.0f} MB")
    assert error is not None
    assert max(server.sent) <= MOST_TAKEN
    assert grown <= 2 * MOST_TAKEN
    assert answer is bomb or server.ended == 0
    assert uploads(server) <= 1


@pytest.mark.parametrize("client", EVERY_CLIENT)
def test_an_answer_that_drips_in_is_given_up(
    client: str, path: Path, aim: Aim, monkeypatch: pytest.MonkeyPatch, set_environment: SetEnvironment
) -> None:
    """Time counts from the request, or from the head of its answer, on; not from the last byte."""
    monkeypatch.setattr(httpx_tap, "ANSWER_SECONDS", 0.3)
    for module, name in ((_flag_server, "ADMIN_BOUNDS"), (_prometheus, "BOUNDS")):
        monkeypatch.setattr(module, name, replace(getattr(module, name), seconds=0.3))
    monkeypatch.setattr(transport, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(service_client, "POLICY", replace(service_client.POLICY, seconds=0.3))
    with hostile(drip) as server:
        aim(server)
        set_environment(UPLOAD_TIMEOUT="0.5")
        error = outcome(client, server, path)
        assert error is not None
        assert server.ended == 0
    assert uploads(server) <= SENT_AGAIN.get(client, 1)


BAD = {
    "no JSON": b"<html>Bad gateway</html>",
    "half a JSON": b'{"id": "file-',
    "nothing": b"",
    "no object": b'["file-1"]',
    "a number": b"7",
    "no id": b'{"object": "file"}',
    "an empty id": b'{"id": ""}',
    "an id that is no text": b'{"id": {"$ne": null}}',
    "no UTF-8": b'{"id": "\xff\xfe"',
    "nested without end": b"[" * 100_000,
}


@pytest.mark.parametrize("body", BAD.values(), ids=list(BAD))
@pytest.mark.parametrize(
    "client", ["upload to Kimi", "upload to GLM", "legacy upload to Kimi", "legacy upload to GLM", "change a flag"]
)
def test_an_answer_that_makes_no_sense_is_an_error(client: str, body: bytes, path: Path, aim: Aim) -> None:
    """Never a success, never a second file; to callers an upload's failure is what it always was."""
    with hostile(saying(body)) as server:
        aim(server)
        error = outcome(client, server, path)
    assert error is not None
    if "upload" in client:
        assert isinstance(error, RuntimeError)
        assert str(error).startswith(f"Failed to upload to {client.rpartition(' ')[2]} via SDK: ")
    assert uploads(server) <= 1
