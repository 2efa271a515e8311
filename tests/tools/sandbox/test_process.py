"""The sandbox as a process and as a server: start, end, restart, load."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import httpx
import openai
import psutil
import pytest
from openai import OpenAI

from tests.tools.sandbox.conftest import BUCKET
from tools.sandbox import (
    Fault,
    FaultKind,
    RunningSandbox,
    SandboxServer,
    SandboxStartError,
    running_sandbox,
)

ROOT = Path(__file__).parents[3]
MEGABYTE = 1024 * 1024


def _upload(url: str, content: bytes = b"text", *, key: str = "any") -> openai.types.FileObject:
    with OpenAI(base_url=url, api_key=key, max_retries=0) as kimi:
        return kimi.files.create(file=("a.txt", content), purpose="file-extract")  # type: ignore[arg-type]  # Kimi has own purposes


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Tus-Resumable": "1.0.0"}


@pytest.mark.parametrize(
    ("excepted", "meanwhile"),
    [(None, "127.0.0.1"), ("inside.example", "inside.example,127.0.0.1"), ("*", "*")],
    ids=["none", "one", "all"],
)
def test_a_proxy_of_the_environment_sees_nothing(
    excepted: str | None, meanwhile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is for the sandbox stays on the machine, and afterwards the environment is what it was."""
    for name in ("http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # where no server listens
    if excepted is not None:
        monkeypatch.setenv("NO_PROXY", excepted)
    with running_sandbox(tmp_path) as sandbox:
        _upload(sandbox.urls["kimi"])
        assert os.environ.get("no_proxy", excepted) == meanwhile
    assert "no_proxy" not in os.environ


def test_state_survives_a_restart(tmp_path: Path) -> None:
    """Files, objects, rows and half-done uploads are there again, and numbers go on; stray bodies are swept away."""
    with running_sandbox(tmp_path) as first:
        _upload(first.urls["kimi"])
        headers = _headers(first.key)
        httpx.post(f"{first.supabase_url}/storage/v1/object/{BUCKET}/a.txt", content=b"object", headers=headers)
        row = {"provider": "kimi", "provider_file_id": "x"}
        httpx.post(f"{first.supabase_url}/rest/v1/provider_file_uploads", json=row, headers=headers)
        before = first.state()
    (tmp_path / "bodies" / "stray").write_bytes(b"left by a crash")
    with running_sandbox(tmp_path) as second:
        after = second.state()
        assert {name: after[name] for name in ("kimi", "glm", "supabase")} == {
            name: before[name] for name in ("kimi", "glm", "supabase")
        }
        assert len(list((tmp_path / "bodies").iterdir())) == 2
        with OpenAI(base_url=second.urls["kimi"], api_key=second.key) as kimi:
            assert "text" in kimi.files.content(after["kimi"]["files"][0]["id"]).text


def test_given_keys_are_the_only_ones(tmp_path: Path) -> None:
    """With keys given, another key is refused in the vendor's words."""
    with running_sandbox(tmp_path, keys=["right"]) as sandbox:
        assert sandbox.key == "right"
        _upload(sandbox.urls["kimi"], key="right")
        with pytest.raises(openai.AuthenticationError, match="Incorrect API key provided"):
            _upload(sandbox.urls["kimi"], key="wrong")


def test_start_that_fails_says_why(tmp_path: Path) -> None:
    """A port that is taken is a typed error with the process' own words."""
    with running_sandbox(tmp_path / "one") as sandbox:
        port = httpx.URL(sandbox.urls["kimi"]).port or 0
        with pytest.raises(SandboxStartError, match="in use"), running_sandbox(tmp_path / "two", port=port):
            pass


def test_process_ends_with_its_parent(tmp_path: Path) -> None:
    """A parent that is killed takes the sandbox with it."""
    parent = """
        import sys, pathlib
        from tools.sandbox import running_sandbox
        with running_sandbox(pathlib.Path(sys.argv[1])) as sandbox:
            print(sandbox.pid, flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(parent), str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own code
        assert process.stdout is not None
        sandbox = psutil.Process(int(process.stdout.readline()))
        process.kill()
        psutil.wait_procs([sandbox], timeout=10)
        assert not sandbox.is_running()


def test_foreground_ends_cleanly(tmp_path: Path) -> None:
    """In the foreground it prints its URLs and ends with 0 on SIGTERM."""
    command = [sys.executable, "-m", "tools.sandbox", "--home", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own code
        assert process.stdout is not None
        assert b"/kimi/v1" in process.stdout.readline()
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0


async def test_server_runs_inside_a_program(tmp_path: Path) -> None:
    """The server can be started, made to fail and stopped from Python."""
    async with SandboxServer(tmp_path) as server, aiohttp.ClientSession(headers=_headers("x")) as session:
        async with session.get(f"{server.urls['glm']}/files") as answer:
            assert answer.status == 200
        server.faults.add(Fault(kind=FaultKind.SERVER_ERROR, service="glm"))
        async with session.get(f"{server.urls['glm']}/files") as answer:
            assert answer.status == 500
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*server.address)


async def test_stop_lets_nobody_hang(tmp_path: Path) -> None:
    """Requests that hang are cut off when the server stops."""
    server = SandboxServer(tmp_path)
    await server.start()
    server.faults.add(Fault(kind=FaultKind.HANG, service="kimi"))
    async with aiohttp.ClientSession(headers=_headers("x")) as session:
        hanging = asyncio.create_task(session.get(f"{server.urls['kimi']}/files"))
        while server.faults.to_json():  # noqa: ASYNC110 - used up when the request has come
            await asyncio.sleep(0)
        await server.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await hanging


def _form(content: aiohttp.payload.Payload | AsyncIterator[bytes] | bytes, name: str) -> aiohttp.MultipartWriter:
    form = aiohttp.MultipartWriter("form-data")
    form.append("file-extract").set_content_disposition("form-data", name="purpose")
    form.append(content).set_content_disposition("form-data", name="file", filename=name)
    return form


async def test_two_hundred_uploads_at_once(sandbox: RunningSandbox) -> None:
    """Two hundred simultaneous uploads all succeed and each arrives whole."""
    contents = [f"{number}\n".encode() * 20_000 for number in range(200)]

    async def upload(session: aiohttp.ClientSession, number: int) -> int:
        data = _form(contents[number], f"{number}.txt")
        async with session.post(f"{sandbox.urls['kimi']}/files", data=data) as answer:
            return answer.status

    async with aiohttp.ClientSession(
        headers={"Authorization": "Bearer x"}, connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        statuses = await asyncio.gather(*(upload(session, number) for number in range(200)))
    assert set(statuses) == {200}
    stored = {file["filename"]: file["sha256"] for file in sandbox.state()["kimi"]["files"]}
    assert stored == {f"{n}.txt": hashlib.sha256(content).hexdigest() for n, content in enumerate(contents)}


async def test_memory_stays_flat(sandbox: RunningSandbox) -> None:
    """A 100 MiB file passes through the server, in and out, without staying in its memory."""
    process = psutil.Process(sandbox.pid)
    before = process.memory_info().rss
    digest, piece = hashlib.sha256(), b"0123456789abcdef" * (MEGABYTE // 16)

    async def content() -> AsyncIterator[bytes]:
        for _ in range(100):
            digest.update(piece)
            yield piece

    async with aiohttp.ClientSession(headers={"Authorization": "Bearer x"}) as session:
        async with session.post(f"{sandbox.urls['kimi']}/files", data=_form(content(), "a.txt")) as answer:
            uploaded = await answer.json()
        received = 0
        async with session.get(f"{sandbox.urls['kimi']}/files/{uploaded['id']}/content") as answer:
            async for read in answer.content.iter_any():
                received += len(read)
    assert uploaded["bytes"] == 100 * MEGABYTE
    assert received > 100 * MEGABYTE
    assert sandbox.state()["kimi"]["files"][0]["sha256"] == digest.hexdigest()
    assert process.memory_info().rss - before < 20 * MEGABYTE
