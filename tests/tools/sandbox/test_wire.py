"""What really happens on the connection, seen from a raw socket; and what garbage is answered with."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from aiohttp.test_utils import make_mocked_request

from tools.sandbox import FaultKind, RunningSandbox
from tools.sandbox.intake import RequestLog

BOUNDARY = "boundary"


def _part(header: str, content: bytes) -> bytes:
    return f"--{BOUNDARY}\r\nContent-Disposition: form-data; {header}\r\n\r\n".encode() + content + b"\r\n"


FORM = (
    _part('name="purpose"', b"file-extract")
    + _part('name="file"; filename="a.txt"', b"x" * 1_000_000)
    + f"--{BOUNDARY}--\r\n".encode()
)


def _head(sandbox: RunningSandbox, length: int) -> bytes:
    return (
        f"POST /kimi/v1/files HTTP/1.1\r\nHost: sandbox\r\nAuthorization: Bearer {sandbox.key}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


@pytest.fixture
def connection(sandbox: RunningSandbox) -> Iterator[socket.socket]:
    address = urlsplit(sandbox.urls["kimi"])
    with socket.create_connection((address.hostname, address.port), timeout=10) as connected:
        yield connected


def test_reset_mid_body_is_a_reset(sandbox: RunningSandbox, connection: socket.socket) -> None:
    """RST arrives while most of the body has not been sent, and not one byte of an answer."""
    sandbox.inject(FaultKind.RESET_MID_BODY, "kimi", "files.create", after_bytes=1000)
    connection.sendall(_head(sandbox, len(FORM)) + FORM[:2000])
    with pytest.raises(ConnectionResetError):
        connection.recv(1)


def test_drop_after_commit_is_an_orderly_end(sandbox: RunningSandbox, connection: socket.socket) -> None:
    """The file is stored, then the connection ends with FIN and not one byte of an answer."""
    sandbox.inject(FaultKind.DROP_AFTER_COMMIT, "kimi", "files.create")
    connection.sendall(_head(sandbox, len(FORM)) + FORM)
    assert connection.recv(1) == b""
    assert sandbox.state()["kimi"]["files"][0]["bytes"] == 1_000_000


def test_stalled_body_is_not_read(sandbox: RunningSandbox, connection: socket.socket) -> None:
    """The server stops reading and stays silent until it is let go."""
    sandbox.inject(FaultKind.STALL_MID_BODY, "kimi", "files.create", after_bytes=1000)
    connection.settimeout(0.3)
    connection.sendall(_head(sandbox, 10**9))
    with pytest.raises(TimeoutError):
        connection.sendall(b"x" * 100_000_000)
    sandbox.clear_faults()
    connection.settimeout(10)
    with pytest.raises(ConnectionError):
        connection.recv(1)


def test_client_that_goes_away_leaves_nothing(sandbox: RunningSandbox, connection: socket.socket) -> None:
    """A connection closed by the client in the middle of a body leaves no file and no body on disk."""
    connection.sendall(_head(sandbox, len(FORM)) + FORM[:500_000])
    sandbox.wait_for_requests("kimi", "files.create")
    connection.close()
    while sandbox.requests("kimi", "files.create")[0]["ended"] == "open":
        sandbox.state()
    assert sandbox.requests("kimi", "files.create")[0]["ended"] == "disconnected"
    assert sandbox.state()["kimi"]["files"] == []
    assert list((sandbox.home / "bodies").iterdir()) == []


@pytest.mark.parametrize("service", ["kimi", "glm"])
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data; boundary=boundary", FORM[:500]),
        ("multipart/form-data; boundary=other", FORM[:500]),
        ("multipart/form-data", FORM[:500]),
        ("multipart/form-data; boundary=boundary", b""),
        ("multipart/form-data; boundary=boundary", b"\r\n" * 1000),
        (
            "multipart/form-data; boundary=boundary",
            _part('name="file"; filename="a.txt"', b"x") * 2 + b"--boundary--\r\n",
        ),
        ("multipart/form-data; boundary=boundary", _part('name="other"; filename="a.txt"', b"x") + b"--boundary--\r\n"),
        ("multipart/form-data; boundary=boundary", _part('name="x"', b"x" * 100_000) + b"--boundary--\r\n"),
        ("multipart/form-data; boundary=boundary", _part('name="x"', b"x") * 40 + b"--boundary--\r\n"),
        ("multipart/form-data; boundary=boundary", b"--boundary--\r\n"),
        ("multipart/form-data; boundary=boundary", b"--boundary\r\n\xff\xfe\r\n\r\nx\r\n--boundary--\r\n"),
        ("multipart/mixed; boundary=boundary", FORM[:500]),
        ("application/octet-stream", b"raw"),
        ("", b"raw"),
    ],
)
def test_garbage_uploads_are_400(
    sandbox: RunningSandbox, http: httpx.Client, service: str, content_type: str, body: bytes
) -> None:
    """Whatever is no form with a file is a 400 in the vendor's shape, and leaves nothing behind."""
    url = {"kimi": sandbox.urls["kimi"], "glm": sandbox.urls["glm"]}[service]
    answer = http.post(f"{url}/files", headers={"Content-Type": content_type}, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert list((sandbox.home / "bodies").iterdir()) == []


@pytest.mark.parametrize("service", ["kimi", "glm"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"{}",
        b'{"model": "m"}',
        b'{"model": "m", "messages": []}',
        b'{"model": "m", "messages": [1]}',
        b'{"model": 1, "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": 1}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b"[" * 100_000,
    ],
)
def test_garbage_chats_are_400(sandbox: RunningSandbox, http: httpx.Client, service: str, body: bytes) -> None:
    """Whatever is no chat is a 400 in the vendor's shape."""
    url = {"kimi": sandbox.urls["kimi"], "glm": sandbox.urls["glm"]}[service]
    answer = http.post(f"{url}/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("POST /storage/v1/bucket", 400),
        ("POST /storage/v1/object/list/user-files", 400),
        ("DELETE /storage/v1/object/user-files", 400),
        ("GET /storage/v1/nothing/here", 400),
        ("POST /rest/v1/provider_file_uploads", 400),
        ("PATCH /rest/v1/provider_file_uploads?id=eq.1", 400),
        ("GET /rest/v1/provider_file_uploads?id=nonsense", 400),
        ("GET /rest/v1/provider_file_uploads?order=id.sideways", 400),
        ("GET /rest/v1/provider_file_uploads?limit=-1", 400),
        ("GET /rest/v1/provider_file_uploads?id=eq.99999999999999999999", 400),
        ("POST /rest/v1/provider_file_uploads?on_conflict=filename", 400),
        ("PUT /rest/v1/provider_file_uploads", 405),
    ],
)
@pytest.mark.parametrize("body", [b"", b"[1]", b'{"prefixes": 1, "limit": "x", "sortBy": 7, "id": 7, "x": 1}'])
def test_garbage_for_supabase_is_refused(
    sandbox: RunningSandbox, http: httpx.Client, request_line: str, status: int, body: bytes
) -> None:
    """Whatever is no request is refused in the vendor's shape."""
    method, path = request_line.split()
    answer = http.request(method, sandbox.supabase_url + path, content=body)
    assert answer.status_code == status
    assert answer.json()["message"]


@pytest.mark.parametrize(
    ("request_line", "headers"),
    [
        (b"GET /kimi/v1/files/\xff", b""),
        (b"GET /kimi/v1/files/%ff%00", b""),
        (b"GET /glm/api/paas/v4/files?after=\xff&purpose=%00", b""),
        (b"POST /supabase/storage/v1/object/user-files/\xff", b""),
        (b"POST /supabase/storage/v1/object/user-files/a.txt", b"x-metadata: \xff\r\n"),
        (b"POST /supabase/storage/v1/upload/resumable", b"Tus-Resumable: 1.0.0\r\nUpload-Metadata: a \xff\r\n"),
        (b"GET /supabase/rest/v1/provider_file_uploads?filename=eq.\xff", b""),
        (b"TRACE /kimi/v1/files", b""),
        (b"\x00\x01 /kimi/v1/files", b""),
    ],
)
def test_bytes_that_are_no_text_are_survived(
    sandbox: RunningSandbox, connection: socket.socket, request_line: bytes, headers: bytes
) -> None:
    """Bytes that are no UTF-8, anywhere in a head, are answered without an internal error."""
    key = sandbox.key.encode()
    head = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\nAuthorization: Bearer " + key + b"\r\n"
    connection.sendall(request_line + head + headers + b"\r\n")
    status = int(connection.makefile("rb").readline().split()[1])
    assert status < 500


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/kimi/v1/files", {"type": "invalid_authentication_error", "message": "Invalid Authentication"}),
        (
            "/glm/api/paas/v4/files",
            {"code": "1001", "message": "Authentication parameter not received in Header, unable to authenticate"},
        ),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic x"}, {"Authorization": "Bearer"}])
def test_without_a_bearer_key_it_is_401(
    sandbox: RunningSandbox, path: str, expected: dict[str, str], headers: dict[str, str]
) -> None:
    """No key, another scheme or an empty key is 401 in the vendor's shape, and uses up no fault."""
    sandbox.inject(FaultKind.SERVER_ERROR, "kimi")
    base = sandbox.control_url.removesuffix("/_sandbox")
    answer = httpx.get(base + path, headers=headers)
    assert answer.status_code == 401
    if not headers:
        assert answer.json()["error"] == expected
    assert len(sandbox.faults()) == 1


def test_request_log_is_bounded() -> None:
    """The log keeps the last requests and counts all."""
    journal = RequestLog(kept=3)
    for _ in range(5):
        journal.begin("kimi", "chat", make_mocked_request("POST", "/"))
    assert [entry["number"] for entry in journal.to_json()] == [3, 4, 5]
    assert journal.total == 5


@pytest.mark.parametrize("header", ["Authorization", "apikey", "X-API-Key", "Cookie"])
def test_request_log_hides_credentials(sandbox: RunningSandbox, header: str) -> None:
    """The log shows that a credential came, and not which."""
    headers = {"Authorization": "Bearer x", header: "Bearer planted-secret"}
    httpx.get(f"{sandbox.urls['kimi']}/files", headers=headers)
    (request,) = sandbox.requests()
    assert [header, "(redacted)"] in request["headers"]
    assert "planted-secret" not in json.dumps(request)
