"""Encrypted connections."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.engine.serving import NEW_LOOPS, answered, listening, request_head
from tools.async_file_upload_refactored import cleanup_http_session, upload_file_streaming_async
from tools.transport.connections import MAX_SESSIONS, ResumingContext

MakeFile = Callable[[str, bytes], Path]


@pytest.mark.parametrize("tls", [True], indirect=True)
@pytest.mark.parametrize("loop", NEW_LOOPS)
def test_a_new_connection_resumes_the_session_of_the_last(make_file: MakeFile, tls: ssl.SSLContext, loop: str) -> None:
    """Only the first connection to a host proves everything."""
    path = make_file("a.txt", b"text")
    resumed: list[bool] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        resumed.append(writer.get_extra_info("ssl_object").session_reused)
        await reader.readexactly(await request_head(reader))
        await answered(writer)

    async def scenario() -> None:
        async with listening(note, tls=tls) as address:
            for _ in range(3):
                await upload_file_streaming_async(path, address)
                await cleanup_http_session()  # so that the next upload connects again

    with asyncio.Runner(loop_factory=NEW_LOOPS[loop]) as runner:
        runner.run(scenario())
    assert resumed == [False, True, True]


@pytest.mark.parametrize("tls", [True], indirect=True)
async def test_a_server_that_forgot_the_session_is_no_obstacle(make_file: MakeFile, tls: ssl.SSLContext) -> None:
    """A session that the server does not know is replaced by a new one."""
    path = make_file("a.txt", b"text")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(await request_head(reader))
        await answered(writer)

    async with listening(answer, tls=tls) as address:
        await upload_file_streaming_async(path, address)
    async with listening(answer, tls=tls) as address:  # another server of the same name
        assert (await upload_file_streaming_async(path, address))["status_code"] == 200


def test_few_sessions_are_kept() -> None:
    """Sessions are bounded; the oldest goes first."""

    class Session:
        has_ticket = True

    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    for number in range(MAX_SESSIONS + 5):
        context.keep(f"host-{number}", Session())  # type: ignore[arg-type]  # made by OpenSSL alone
    assert list(context._sessions) == [f"host-{number}" for number in range(5, MAX_SESSIONS + 5)]


def test_authorities_are_checked() -> None:
    """A context that trusts every certificate would be worse than none."""
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
