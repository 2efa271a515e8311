"""`shim mcp`, asked by the official client over both transports; the providers are the sandbox."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult, TextContent

from flags import FileFlagAdmin
from shim.mcp import CALLS_AT_ONCE, CALLS_WAITING
from tests.support.command_line import CommandLine
from tools.mcp import QueryPhase
from tools.sandbox import FaultKind, RunningSandbox

SECONDS = 30.0
MEGABYTE = 1024 * 1024
TOOL = "smart_file_query"

Told = list[tuple[float, float | None, str | None]]
Connect = Callable[[], AbstractAsyncContextManager[Client]]


def over_stdio(shim: CommandLine) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable, args=["-m", "shim.cli", "mcp"], env=shim.environment, cwd=str(shim.folder)
    )


@contextmanager
def serving_http(shim: CommandLine) -> Iterator[str]:
    """A server over HTTP, and its address."""
    with shim.start("mcp", "--http") as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=SECONDS)
            assert (process.returncode, out) == (0, ""), err
            assert "Traceback" not in err
        finally:
            process.kill()


@pytest.fixture(params=["stdio", "http"])
def connect(request: pytest.FixtureRequest, shim_with_keys: CommandLine) -> Connect:
    """Connects the official client to `shim mcp`; entered by the test, whose task has to leave it as well."""

    @asynccontextmanager
    async def over_either() -> AsyncIterator[Client]:
        if request.param == "stdio":
            async with Client(over_stdio(shim_with_keys), read_timeout_seconds=SECONDS) as client:
                yield client
        else:
            with serving_http(shim_with_keys) as url:
                async with Client(url, read_timeout_seconds=SECONDS) as client:
                    yield client

    return over_either


def text_of(result: CallToolResult) -> str:
    [content] = result.content
    assert isinstance(content, TextContent)
    return content.text


async def calls_of(side: str, client: Client) -> int:
    """How many uploads to Kimi a side has served, as the status tool has it."""
    served = (await client.call_tool("migration_status")).structured_content
    assert served is not None
    [kimi] = [each for each in served["migrations"] if each["migration"] == "async-upload-kimi"]
    calls: int = kimi["sides"][side]["calls"]
    return calls


def route_to(side: str, flags: FileFlagAdmin) -> None:
    for name in ("async-upload-kimi", "async-upload-glm"):
        flags.set_percentage(name, 100 if side == "async" else 0)
        flags.turn_on(name)


@pytest.mark.parametrize(("connect", "side"), [("stdio", "legacy"), ("http", "async")], indirect=["connect"])
async def test_a_question_with_progress(
    side: str, connect: Connect, shim_with_keys: CommandLine, sandbox: RunningSandbox, flags: FileFlagAdmin
) -> None:
    """The tool answers, and tells the phases and the bytes that have left in numbers that only rise."""
    route_to(side, flags)
    async with connect() as client:
        sandbox.inject(FaultKind.LATENCY, "kimi", "files.create", seconds=0.5)
        path = shim_with_keys.folder / "report.txt"
        path.write_bytes(b"The ferry leaves at noon.\n" * (8 * MEGABYTE // 26))
        told: Told = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            told.append((progress, total, message))

        answer = await client.call_tool(
            TOOL, {"file_path": str(path), "question": "When does the ferry leave?"}, progress_callback=note
        )
        assert not answer.is_error, text_of(answer)
        assert answer.structured_content is not None
        assert "noon" in answer.structured_content["answer"]
        assert answer.structured_content["provider"] == "kimi"
        await asyncio.sleep(0.2)  # over HTTP a notification may be handled after the answer
        numbers = [number for number, _, _ in told]
        assert numbers == sorted(set(numbers))
        assert {total for _, total, _ in told} == {float(len(QueryPhase))}
        words = [message for _, _, message in told if message in {phase.word for phase in QueryPhase}]
        assert words == [phase.word for phase in QueryPhase]
        assert any(message == "upload: 8.0 of 8.0 MB sent" for _, _, message in told)
        again = await client.call_tool(TOOL, {"file_path": str(path), "question": "When does it leave?"})
        assert again.structured_content is not None
        assert again.structured_content["deduplicated"] is True
        async with asyncio.timeout(SECONDS):
            while not await calls_of("candidate" if side == "async" else "legacy", client):  # noqa: ASYNC110  # it polls
                await asyncio.sleep(0.1)  # the ledger is written in the background


async def test_what_is_served(connect: Connect) -> None:
    """The tools have typed arguments; those for operators say that they only read."""
    async with connect() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {TOOL, "migration_status", "migration_explain"}
        assert tools[TOOL].input_schema["required"] == ["file_path", "question"]
        annotations = tools["migration_status"].annotations
        assert annotations is not None
        assert annotations.read_only_hint is True


async def test_a_file_outside_the_allowed_folders(connect: Connect, tmp_path: Path) -> None:
    """It is an error that says which folders are allowed and which variable sets them; nothing is sent."""
    async with connect() as client:
        secret = tmp_path / "secret.txt"
        secret.write_text("top secret")
        refused = await client.call_tool(TOOL, {"file_path": str(secret), "question": "What is it?"})
        assert refused.is_error
        assert "SHIM_ALLOWED_ROOTS" in text_of(refused)
        assert "top secret" not in text_of(refused)


async def test_errors_say_what_to_do(connect: Connect, shim_with_keys: CommandLine, sandbox: RunningSandbox) -> None:
    """A missing file, wrong arguments, and a provider that refuses, are errors of the call."""
    async with connect() as client:
        missing = await client.call_tool(TOOL, {"file_path": "nothing.txt", "question": "What?"})
        assert missing.is_error
        assert "nothing.txt" in text_of(missing)
        wrong = await client.call_tool(TOOL, {"file_path": "nothing.txt"})
        assert wrong.is_error
        assert "question" in text_of(wrong)
        path = shim_with_keys.folder / "report.txt"
        path.write_text("The ferry leaves at noon.\n")
        for service in ("kimi", "glm"):
            sandbox.inject(FaultKind.QUOTA_EXCEEDED, service, "files.create", times=None)
        refused = await client.call_tool(TOOL, {"file_path": str(path), "question": "What?"})
        assert refused.is_error
        assert "then ask again" in text_of(refused)
        sandbox.clear_faults()
        assert not (await client.call_tool(TOOL, {"file_path": str(path), "question": "When?"})).is_error


async def test_a_cancelled_call(connect: Connect, shim_with_keys: CommandLine, sandbox: RunningSandbox) -> None:
    """The upload that is in flight ends whole, nothing is asked after it, and the server goes on serving."""
    async with connect() as client:
        path = shim_with_keys.folder / "report.txt"
        path.write_text("The ferry leaves at noon.\n")
        sandbox.inject(FaultKind.LATENCY, "kimi", "files.create", seconds=1.0)
        call = asyncio.create_task(client.call_tool(TOOL, {"file_path": str(path), "question": "When?"}))
        await asyncio.to_thread(sandbox.wait_for_requests, "kimi", "files.create", at_least=1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(1.5)
        assert not sandbox.requests("kimi", "chat")
        sandbox.clear_faults()
        answer = await client.call_tool(TOOL, {"file_path": str(path), "question": "When?"})
        assert answer.structured_content is not None
        assert answer.structured_content["deduplicated"] is True
        assert len(sandbox.requests("kimi", "files.create")) == 1


@pytest.mark.parametrize("connect", ["stdio"], indirect=True)
async def test_many_calls_at_once(connect: Connect, shim_with_keys: CommandLine, sandbox: RunningSandbox) -> None:
    """A few run, some wait, and one more is refused with the advice to come again; the others are all answered."""
    async with connect() as client:
        sandbox.inject(FaultKind.HANG, "kimi", "files.create", times=CALLS_AT_ONCE)
        calls = []
        for number in range(CALLS_AT_ONCE + CALLS_WAITING):
            path = shim_with_keys.folder / f"report-{number}.txt"
            path.write_text(f"The ferry number {number} leaves at noon.\n")
            arguments = {"file_path": str(path), "question": "When?", "provider": "kimi"}
            calls.append(asyncio.create_task(client.call_tool(TOOL, arguments)))
        await asyncio.to_thread(sandbox.wait_for_requests, "kimi", "files.create", at_least=CALLS_AT_ONCE)
        await asyncio.sleep(0.5)
        assert len(sandbox.requests("kimi", "files.create")) == CALLS_AT_ONCE
        refused = await client.call_tool("migration_status")
        assert refused.is_error
        assert "ask again when one of them has ended" in text_of(refused)
        sandbox.clear_faults()
        answers = await asyncio.gather(*calls)
        assert not [text_of(answer) for answer in answers if answer.is_error]


def test_only_the_protocol_on_standard_output(shim: CommandLine) -> None:
    """With nothing configured, every line on standard output is a message of the protocol; notes go elsewhere."""
    begin = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    path = shim.folder / "report.txt"
    path.write_text("The ferry leaves at noon.\n")
    call = {
        "jsonrpc": "2.0",
        "id": 2,
        "method": "tools/call",
        "params": {"name": TOOL, "arguments": {"file_path": str(path), "question": "When?"}},
    }
    with subprocess.Popen(  # our own program
        [sys.executable, "-m", "shim.cli", "mcp"],
        cwd=shim.folder,
        env=shim.environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        messages = []
        for message in (begin, {"jsonrpc": "2.0", "method": "notifications/initialized"}, call):
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
            if "id" in message:
                messages.append(json.loads(process.stdout.readline()))
        out, err = process.communicate(timeout=SECONDS)
    assert [message["id"] for message in messages] == [1, 2]
    assert messages[1]["result"]["isError"] is False
    assert (process.returncode, out) == (0, "")
    assert "using the local sandbox" in err


STRANGERS = [
    ({"Host": "evil.example"}, 421),
    ({"Origin": "https://evil.example"}, 403),
    ({"Origin": "http://127.0.0.1:1"}, 403),
]
"""Requests as a page of another site makes them, and their answers."""


def test_over_http_on_this_machine_only(shim_with_keys: CommandLine) -> None:
    """A request that names another host, or comes from another page, is refused; so is a port that is taken."""
    with serving_http(shim_with_keys) as url:
        assert url.startswith("http://127.0.0.1:")
        port = url.split(":")[2].split("/")[0]
        for headers, status in STRANGERS:
            common = {"Accept": "application/json, text/event-stream"}
            answer = httpx2.post(url, headers=common | headers, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
            assert answer.status_code == status, headers
        finished = shim_with_keys("mcp", "--http", "--port", port)
    assert finished.code == 1
    assert f"port {port} cannot be used" in finished.err
    assert not finished.out
