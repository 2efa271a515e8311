"""How requests are taken in: bodies in pieces, hashed, on disk, cut off where a fault says so; and a log of them."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import re
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import unquote

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from tools.sandbox.faults import DrawnFaults, Fault, FaultKind
from tools.sandbox.store import Body, SandboxStore

KEPT_REQUESTS = 1000
_CREDENTIALS = frozenset({"authorization", "proxy-authorization", "apikey", "x-api-key", "cookie"})


@dataclass(slots=True, kw_only=True)
class Part:
    """One part of a multipart body.

    `headers` are in the order and spelling in which they came. `value` is that of an ordinary form field;
    a file has `filename` and no value. `bytes` and `sha256` are those of the part's content.
    """

    name: str
    filename: str | None
    headers: list[tuple[str, str]]
    bytes: int = 0
    sha256: str = ""
    value: str | None = None


@dataclass(slots=True, kw_only=True)
class LoggedRequest:
    """One request, from its head to its end.

    `ended` is `open`, `answered`, `reset`, `dropped`, `disconnected` (the client went away) or `stopped`.
    `body_sha256` is that of a body which is not multipart; parts have their own.
    """

    number: int
    service: str
    operation: str
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    parts: list[Part] = field(default_factory=list)
    body_bytes: int = 0
    body_sha256: str | None = None
    faults: list[str] = field(default_factory=list)
    status: int | None = None
    ended: str = "open"


class RequestLog:
    """The last requests, oldest first."""

    def __init__(self, kept: int = KEPT_REQUESTS) -> None:
        self._entries: deque[LoggedRequest] = deque(maxlen=kept)
        self._numbers = itertools.count(1)
        self._changed = asyncio.Condition()
        self.total = 0

    def begin(self, service: str, operation: str, request: web.BaseRequest) -> LoggedRequest:
        """Note a request whose head has arrived."""
        entry = LoggedRequest(
            number=next(self._numbers),
            service=service,
            operation=operation,
            method=request.method,
            path=request.path,
            query=request.query_string,
            headers=[_header(name, value) for name, value in request.raw_headers],
        )
        self._entries.append(entry)
        self.total += 1
        return entry

    def clear(self) -> None:
        """Forget all requests."""
        self._entries.clear()
        self.total = 0

    def to_json(self) -> list[dict[str, Any]]:
        """The requests as plain data."""
        return [asdict(entry) for entry in self._entries]

    def count(self, service: str, operation: str) -> int:
        """How many kept requests are of this kind."""
        return sum(entry.service == service and entry.operation == operation for entry in self._entries)

    async def announce(self) -> None:
        """Wake those who wait for requests."""
        async with self._changed:
            self._changed.notify_all()

    async def wait_for(self, service: str, operation: str, at_least: int, seconds: float) -> bool:
        """Wait until so many requests of this kind have begun; False after `seconds` without."""
        async with self._changed:
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait_for(lambda: self.count(service, operation) >= at_least)
            except TimeoutError:
                return False
        return True


def _header(name: bytes, value: bytes) -> tuple[str, str]:
    text = name.decode("ascii", "replace")
    return text, "(redacted)" if text.lower() in _CREDENTIALS else value.decode("utf-8", "backslashreplace")


MAX_JSON_BYTES = 32 * 1024 * 1024
_PIECE_BYTES = 256 * 1024
_MAX_FIELD_BYTES = 64 * 1024
_MAX_PARTS = 32
_PARAMETER = re.compile(r';\s*([!#$%&\'*+\-.^_`|~\w]+)=(?:"((?:[^"\\]|\\.)*)"|([^;"]*))')


class ConnectionCut(Exception):  # noqa: N818 - not an error of the sandbox: the connection is to be reset
    """A fault says that the connection is reset here."""


class UnusableBodyError(Exception):
    """The body is not what its head announces; the message is for the client."""


@dataclass(slots=True)
class SandboxExchange:
    """A request with what befalls it and with its line in the log."""

    request: web.Request
    faults: DrawnFaults
    entry: LoggedRequest
    store: SandboxStore
    release: asyncio.Event  # set when those who hang are to be let go
    bodies: list[Body] = field(default_factory=list)

    def new_body(self) -> Body:
        """Begin a body; it is removed after the request unless a row comes to own it."""
        body = self.store.new_body()
        self.bodies.append(body)
        return body

    def clean_up(self) -> None:
        """Close the bodies and remove those without an owner."""
        for body in self.bodies:
            body.close() if body.owned else body.discard()


@dataclass(slots=True, kw_only=True)
class File:
    """A file that arrived. `body` is None when it was longer than allowed: then nothing of it was kept."""

    filename: str
    content_type: str
    bytes: int
    sha256: str
    body: Body | None


@dataclass(slots=True)
class Form:
    """A multipart form: ordinary fields and at most one file."""

    fields: dict[str, str] = field(default_factory=dict)
    file: File | None = None


async def pieces(exchange: SandboxExchange) -> AsyncIterator[bytes]:
    """The body in pieces, as it arrives.

    Raises:
        ConnectionCut: a fault resets the connection.
    """
    limit = _cut_after(exchange)
    while limit is None or exchange.entry.body_bytes < limit:
        wanted = _PIECE_BYTES if limit is None else min(_PIECE_BYTES, limit - exchange.entry.body_bytes)
        piece = await exchange.request.content.read(wanted)
        if not piece:
            break
        exchange.entry.body_bytes += len(piece)
        yield piece
    if exchange.faults.cut:
        await _cut(exchange, exchange.faults.cut)


async def drain(exchange: SandboxExchange) -> None:
    """Take the body in and forget it."""
    async for _ in pieces(exchange):
        pass


async def read_json(exchange: SandboxExchange) -> Any:
    """The body as JSON.

    Raises:
        UnusableBodyError: it is none, or it is too long.
    """
    body = bytearray()
    async for piece in pieces(exchange):
        body += piece
        if len(body) > MAX_JSON_BYTES:
            raise UnusableBodyError(f"the JSON body is longer than {MAX_JSON_BYTES} bytes")
    exchange.entry.body_sha256 = hashlib.sha256(body).hexdigest()
    try:
        value = json.loads(body)
        if b"\\u" in body:
            json.dumps(value, ensure_ascii=False).encode()  # finds half of a surrogate pair, which is no text
    except (ValueError, RecursionError):
        raise UnusableBodyError("the body is not JSON") from None
    return value


async def read_object(exchange: SandboxExchange) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        UnusableBodyError: it is none.
    """
    value = await read_json(exchange)
    if not isinstance(value, dict):
        raise UnusableBodyError("the body is not a JSON object")
    return value


async def read_raw(exchange: SandboxExchange, *, max_bytes: int) -> File:
    """The body as one file."""
    body = exchange.new_body()
    async for piece in pieces(exchange):
        _keep(body, piece, max_bytes)
    exchange.entry.body_sha256 = body.sha256
    content_type = text_of_header(exchange.request.headers.get("Content-Type", "application/octet-stream"))
    return _finished(body, filename="", content_type=content_type, max_bytes=max_bytes)


async def read_form(exchange: SandboxExchange, *, max_bytes: int, file_field: str | None = "file") -> Form:
    """The body as a multipart form; its file goes to disk. With `file_field` None the file's field may have any name.

    Raises:
        UnusableBodyError: it is no complete multipart form.
        ConnectionCut: a fault resets the connection.
    """
    if exchange.faults.cut:
        await drain(exchange)
    if exchange.request.content_type != "multipart/form-data":
        raise UnusableBodyError("the body is not multipart/form-data")
    form = Form()
    try:
        async for part in _parts(_reader(exchange.request)):
            await _take_part(exchange, part, form, max_bytes=max_bytes, file_field=file_field)
    except (ValueError, AssertionError, RuntimeError, HttpProcessingError) as problem:
        raise UnusableBodyError(f"the multipart body is malformed: {problem}") from problem
    exchange.entry.body_bytes = exchange.request.content.total_bytes
    return form


def _reader(request: web.Request) -> MultipartReader:
    """The reader of aiohttp, told that the form is `multipart/mixed`.

    For `form-data` it looks into each part's disposition itself, and warns of names that are quite legal.
    """
    content_type = request.headers["Content-Type"].replace("form-data", "mixed", 1)
    return MultipartReader({"Content-Type": content_type}, request.content)


async def _parts(reader: MultipartReader) -> AsyncIterator[BodyPartReader]:
    count = 0
    while (part := await reader.next()) is not None:
        count += 1
        if count > _MAX_PARTS:
            raise UnusableBodyError(f"the form has more than {_MAX_PARTS} parts")
        if not isinstance(part, BodyPartReader):
            raise UnusableBodyError("a part of the form is itself multipart")
        yield part


async def _take_part(
    exchange: SandboxExchange, part: BodyPartReader, form: Form, *, max_bytes: int, file_field: str | None
) -> None:
    parameters = disposition_parameters(part.headers.get("Content-Disposition", ""))
    name, filename = parameters.get("name", ""), parameters.get("filename")
    noted = Part(
        name=name, filename=filename, headers=[(key, _printable(value)) for key, value in part.headers.items()]
    )
    exchange.entry.parts.append(noted)
    if filename is None:
        value = await _read_field(part)
        noted.bytes, noted.sha256 = len(value), hashlib.sha256(value).hexdigest()
        noted.value = form.fields[name] = value.decode("utf-8", "replace")
        return
    if file_field not in (None, name):
        raise UnusableBodyError(f"a file came in the field {name!r} instead of {file_field!r}")
    if form.file is not None:
        raise UnusableBodyError("more than one file came")
    form.file = await _read_file(exchange, part, filename, max_bytes)
    noted.bytes, noted.sha256 = form.file.bytes, form.file.sha256


async def _read_field(part: BodyPartReader) -> bytes:
    value = bytearray()
    while piece := await part.read_chunk(_MAX_FIELD_BYTES):
        value += piece
        if len(value) > _MAX_FIELD_BYTES:
            raise UnusableBodyError(f"a form field is longer than {_MAX_FIELD_BYTES} bytes")
    return bytes(value)


async def _read_file(exchange: SandboxExchange, part: BodyPartReader, filename: str, max_bytes: int) -> File:
    body = exchange.new_body()
    while piece := await part.read_chunk(_PIECE_BYTES):
        _keep(body, piece, max_bytes)
    content_type = text_of_header(part.headers.get("Content-Type", "application/octet-stream"))
    return _finished(body, filename=filename, content_type=content_type, max_bytes=max_bytes)


def _keep(body: Body, piece: bytes, max_bytes: int) -> None:
    if body.size + len(piece) > max_bytes:
        body.skip(piece)
    else:
        body.write(piece)


def _finished(body: Body, *, filename: str, content_type: str, max_bytes: int) -> File:
    body.close()
    kept = body if body.size <= max_bytes else None
    return File(filename=filename, content_type=content_type, bytes=body.size, sha256=body.sha256, body=kept)


def disposition_parameters(header: str) -> dict[str, str]:
    """Parameters of a `Content-Disposition` header, as browsers and HTTP clients write it.

    A raw UTF-8 name, `%22` for a quote (WHATWG), a backslash before a quote or backslash, and `filename*` (RFC 5987,
    which wins) are understood. A filename is cut to its last path segment.
    """
    found: dict[str, str] = {}
    for key, quoted, bare in _PARAMETER.findall(header):
        value = re.sub(r"\\(.)", r"\1", quoted) if quoted else bare.strip()
        found[key.lower()] = re.sub("%(22|0[DdAa])", lambda escape: unquote(escape.group()), text_of_header(value))
    if "'" in (extended := found.pop("filename*", "")):
        found["filename"] = unquote(extended.split("'", 2)[-1])
    if "filename" in found:
        found["filename"] = found["filename"].rsplit("/", 1)[-1]
    return found


def text_of_header(value: str) -> str:
    """A header's value as proper text; aiohttp leaves bytes that are not UTF-8 as surrogates."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _printable(value: str) -> str:
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _cut_after(exchange: SandboxExchange) -> int | None:
    fault = exchange.faults.cut
    if fault is None:
        return None
    announced = exchange.request.content_length
    return fault.after_bytes if announced is None else min(fault.after_bytes, announced // 2)


async def _cut(exchange: SandboxExchange, fault: Fault) -> None:
    if fault.kind is FaultKind.STALL_MID_BODY:
        await exchange.release.wait()
    raise ConnectionCut
