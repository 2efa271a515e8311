"""The server of the benchmark, used by real clients."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from bench.harness import SinkWish
from bench.proof import check_form, parts_of
from bench.running import Stage
from bench.sink import Sink
from tests.bench.conftest import LARGE_BYTES

CURL = shutil.which("curl")


def post(connection: http.client.HTTPConnection, body: bytes | Iterator[bytes], *, chunked: bool = False) -> object:
    connection.request("POST", "/files", body=body, encode_chunked=chunked, headers=_headers(chunked=chunked))
    answer = connection.getresponse()
    assert answer.status == 200
    return json.loads(answer.read())


def _headers(*, chunked: bool) -> dict[str, str]:
    return {"Transfer-Encoding": "chunked"} if chunked else {}


@pytest.fixture
def connection(sink: Sink) -> Iterator[http.client.HTTPConnection]:
    """A client of the plain sink."""
    with closing(http.client.HTTPConnection(sink.server.url.removeprefix("http://"))) as client:
        yield client


def test_it_answers_as_a_provider_and_counts(sink: Sink, connection: http.client.HTTPConnection) -> None:
    """Uploads over one connection are counted with their bytes; small ones are warm-ups."""
    answer = post(connection, b"x" * 100_000)
    post(connection, b"y" * 50_000)
    post(connection, b"z" * 8192)
    assert isinstance(answer, dict)
    assert (answer["bytes"], answer["object"], answer["status"]) == (100_000, "file", "ok")
    assert str(answer["id"]).startswith("file-")
    counts = sink.counts()
    assert (counts.uploads, counts.body_bytes, counts.warm_ups) == (2, 150_000, 1)
    assert (counts.connections, counts.broken) == (1, 0)
    sink.reset()
    assert sink.counts().uploads == 0


def test_chunks_are_counted_without_their_framing(sink: Sink, connection: http.client.HTTPConnection) -> None:
    """A chunked body counts as long as it is."""
    pieces = [b"a" * 70_000, b"b", b"c" * 300_000]
    post(connection, iter(pieces), chunked=True)
    assert sink.counts().body_bytes == 370_001


def test_a_body_is_kept_byte_by_byte(sink: Sink, connection: http.client.HTTPConnection, tmp_path: Path) -> None:
    """What it keeps is what was sent, whole or in chunks."""
    body = bytes(range(256)) * 3000
    sink.keep(tmp_path)
    post(connection, body)
    post(connection, iter([body[:70_001], body[70_001:]]), chunked=True)
    sink.keep(None)
    assert [(tmp_path / name).read_bytes() == body for name in ("1", "2")] == [True, True]


def test_an_upload_that_ends_early_is_noticed(sink: Sink, connection: http.client.HTTPConnection) -> None:
    """A client that hangs up in the middle leaves a broken upload, and the run does not count."""
    connection.putrequest("POST", "/files")
    connection.putheader("Content-Length", "100000")
    connection.endheaders(b"x" * 99_999)
    connection.close()
    deadline = time.monotonic() + 10
    while not sink.counts().broken and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "too early" in str(sink.counts().complaint(SinkWish(files=0, file_bytes=0)))


@pytest.mark.parametrize(
    ("files", "size", "complaint"),
    [
        (1, 100_000, None),
        (1, 99_000, None),
        (2, 100_000, "1 uploads arrived instead of 2"),
        (1, 100_001, "100000 bytes arrived for 100001"),
        (1, 97_000, "100000 bytes arrived for 97000"),
    ],
)
def test_lost_files_and_bytes_are_noticed(
    sink: Sink, connection: http.client.HTTPConnection, files: int, size: int, complaint: str | None
) -> None:
    """A form may add a little to a file; one byte less than the file, or a file less, is a complaint."""
    post(connection, b"x" * 100_000)
    found = sink.counts().complaint(SinkWish(files=files, file_bytes=size))
    assert (found is None) if complaint is None else (found is not None and complaint in found)


def test_a_late_answer_is_late(sink: Sink, connection: http.client.HTTPConnection) -> None:
    """The latency is waited for before the answer."""
    sink.set_latency(80)
    began = time.monotonic()
    post(connection, b"x")
    assert time.monotonic() - began >= 0.08


async def test_aiohttp_over_tls(tls_sink: Sink, large: Path) -> None:
    """The certificate is trusted only by clients that are told of it."""
    url = tls_sink.server.files_url
    trusting = ssl.create_default_context(cafile=str(tls_sink.server.authority))
    async with aiohttp.ClientSession() as session:
        with large.open("rb") as file:
            answer = await (await session.post(url, data={"purpose": "x", "file": file}, ssl=trusting)).json()
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.post(url, data=b"x")
    assert answer["bytes"] > LARGE_BYTES
    assert tls_sink.counts().complaint(SinkWish(files=1, file_bytes=LARGE_BYTES)) is None


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
def test_curl_waits_for_leave_to_send(sink: Sink, large: Path, tmp_path: Path) -> None:
    """With curl, which asks before it sends a large body (`Expect: 100-continue`), the file arrives whole."""
    sink.keep(tmp_path)
    form = ["--form", "purpose=file-extract", "--form", f"file=@{large}", "--expect100-timeout", "30"]
    said = subprocess.run(  # noqa: S603  # fixed words
        [str(CURL), "--silent", "--max-time", "20", *form, sink.server.files_url], check=True, capture_output=True
    ).stdout
    assert json.loads(said)["object"] == "file"
    check_form((tmp_path / "1").read_bytes(), large.read_bytes())


def test_other_addresses_are_refused(sink: Sink, connection: http.client.HTTPConnection) -> None:
    """A client that posts elsewhere is told so, and nothing is counted."""
    connection.request("POST", "/elsewhere", body=b"x" * 10)
    assert connection.getresponse().status == 404
    assert sink.counts().uploads == 0


def test_it_ends_with_its_parent(stage: Stage) -> None:
    """The end of its input ends it, even in the middle of an upload."""
    with subprocess.Popen(  # noqa: S603  # our own program
        [stage.sink_program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        with socket.create_connection(("127.0.0.1", int(process.stdout.readline()))) as connection:
            connection.sendall(b"POST /files HTTP/1.1\r\nContent-Length: 100\r\n\r\nx")
            process.communicate(timeout=10)
    assert process.returncode == 0


def test_a_form_is_taken_apart() -> None:
    """Contents may hold line ends and what looks like another form's boundary."""
    content = b"\r\n--other\r\n\r\n\x00"
    body = (
        b'--b0\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfile-extract\r\n'
        b'--b0\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + content + b"\r\n--b0--\r\n"
    )
    assert parts_of(body) == {"purpose": b"file-extract", "file": content}
    assert parts_of(b"no form at all") == {}
