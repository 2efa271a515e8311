"""Stand-in for Supabase's resumable uploads: the TUS protocol, version 1.0.0."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from tools.sandbox.faults import SUPABASE, Fault, FaultKind
from tools.sandbox.intake import File, SandboxExchange, pieces
from tools.sandbox.objects import Objects
from tools.sandbox.serving import Endpoint, Refusal, Service, World
from tools.sandbox.storage import is_valid_key, size_limit, upserts
from tools.sandbox.store import Row

_VERSION = "1.0.0"
_PIECE_TYPE = "application/offset+octet-stream"


class Resumable(Service):
    """`/storage/v1/upload/resumable`. Here the statuses are true and error bodies are text."""

    name = SUPABASE
    prefix = "/supabase/storage/v1/upload/resumable"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._objects = Objects(world.store, world.clock)
        self._busy: set[str] = set()

    def endpoints(self) -> Sequence[Endpoint]:
        """See the base class."""
        return (
            Endpoint("tus.create", "POST", "", self._create),
            Endpoint("tus.patch", "PATCH", "/{id}", self._patch),
            Endpoint("tus.head", "HEAD", "/{id}", self._head),
            Endpoint("tus.delete", "DELETE", "/{id}", self._delete),
        )

    async def _create(self, exchange: SandboxExchange) -> web.Response:
        _check_version(exchange)
        headers = exchange.request.headers
        metadata = _tus_metadata(headers.get("Upload-Metadata", ""))
        length = _number(headers.get("Upload-Length"), "Upload-Length")
        bucket = self._objects.bucket(metadata.get("bucketName", ""))
        if bucket is None:
            return _text(404, "Bucket not found")
        name = metadata.get("objectName", "")
        if not is_valid_key(name):
            return _text(400, f"Invalid key: {name}")
        if length > size_limit(bucket, self.world):
            return _text(413, "Maximum size exceeded")
        content_type = metadata.get("contentType", "application/octet-stream")
        if not bucket.accepts(content_type):
            return _text(415, f"mime type {content_type} is not supported")
        if self._objects.find(bucket.id, name) and not upserts(exchange):
            return _text(409, "The resource already exists")
        identity = uuid.uuid4().hex
        upload = {
            "id": identity,
            "bucket": bucket.id,
            "name": name,
            "length": length,
            "received": 0,
            "content_type": content_type,
            "cache_control": _cache_control(metadata.get("cacheControl", "")),
            "metadata": _user_metadata(metadata.get("metadata")),
            "upsert": upserts(exchange),
            "body": self._empty_body(exchange),
        }
        self.world.store.insert("resumable_uploads", upload)
        if length == 0:
            await self._finish(upload)
        location = exchange.request.url.with_query(None) / identity
        return _answer(201, {"Location": str(location)})

    def _empty_body(self, exchange: SandboxExchange) -> str:
        body = exchange.new_body()
        body.owned = True
        return body.name

    async def _patch(self, exchange: SandboxExchange) -> web.Response:
        _check_version(exchange)
        upload = self._find(exchange)
        self._check_piece(exchange, upload)
        if upload["id"] in self._busy:
            return _text(423, "the upload is locked by another request")
        self._busy.add(upload["id"])
        try:
            received = await self._append(exchange, upload)
            if received == upload["length"]:
                await asyncio.shield(self._finish(upload))  # a client that is gone by now has its object
        finally:
            self._busy.discard(upload["id"])
        return _answer(204, {"Upload-Offset": str(received)})

    def _check_piece(self, exchange: SandboxExchange, upload: Row) -> None:
        request, wanted = exchange.request, self.world.limits.tus_chunk_bytes
        if request.content_type != _PIECE_TYPE:
            raise Refusal(_text(415, f"Content-Type must be {_PIECE_TYPE}"))
        if _number(request.headers.get("Upload-Offset"), "Upload-Offset") != upload["received"]:
            raise Refusal(_text(409, f"Upload-Offset conflicts: {upload['received']} bytes were received"))
        missing = upload["length"] - upload["received"]
        length = _number(request.headers.get("Content-Length"), "Content-Length")
        if length > missing:
            raise Refusal(_text(413, f"only {missing} bytes are missing"))
        if wanted and length not in (wanted, missing):
            raise Refusal(_text(400, f"a piece must have {wanted} bytes, or be the last"))

    async def _append(self, exchange: SandboxExchange, upload: Row) -> int:
        """Keep whatever arrives, even when the connection breaks: that is what can be resumed."""
        body = self.world.store.resumed_body(upload["body"], upload["received"])
        try:
            async for piece in pieces(exchange):
                body.write(piece)
        finally:
            body.close()
            exchange.entry.body_sha256 = body.sha256
            self.world.store.rows("UPDATE resumable_uploads SET received = ? WHERE id = ?", (body.size, upload["id"]))
        return body.size

    async def _finish(self, upload: Row) -> None:
        """Turn a complete upload into an object."""
        body = self.world.store.resumed_body(upload["body"], upload["length"])
        sha256 = await asyncio.to_thread(_digest, self.world.store.body_path(upload["body"]))
        body.close()
        if self._objects.find(upload["bucket"], upload["name"]) and not upload["upsert"]:
            raise Refusal(_text(409, "The resource already exists"))
        file = File(filename="", content_type=upload["content_type"], bytes=upload["length"], sha256=sha256, body=body)
        self._objects.put(
            upload["bucket"],
            upload["name"],
            file,
            cache_control=upload["cache_control"],
            metadata=json.loads(upload["metadata"]),
        )
        self.world.store.rows("DELETE FROM resumable_uploads WHERE id = ?", (upload["id"],))

    async def _head(self, exchange: SandboxExchange) -> web.Response:
        _check_version(exchange)
        upload = self._find(exchange)
        return _answer(
            200,
            {
                "Upload-Offset": str(upload["received"]),
                "Upload-Length": str(upload["length"]),
                "Cache-Control": "no-store",
            },
        )

    async def _delete(self, exchange: SandboxExchange) -> web.Response:
        _check_version(exchange)
        upload = self._find(exchange)
        self.world.store.rows("DELETE FROM resumable_uploads WHERE id = ?", (upload["id"],))
        self.world.store.remove_body(upload["body"])
        return _answer(204, {})

    def _find(self, exchange: SandboxExchange) -> Row:
        upload = self.world.store.row(
            "SELECT * FROM resumable_uploads WHERE id = ?", (exchange.request.match_info["id"],)
        )
        if upload is None:
            raise Refusal(_text(404, "the upload does not exist"))
        return dict(upload)

    def refuse(self, status: int, message: str) -> web.Response:
        """See the base class."""
        return _text(status, message)

    def unauthorized(self, *, key_given: bool) -> web.Response:
        """See the base class."""
        return _text(403, "Invalid Compact JWS" if key_given else "Unauthorized")

    def faulty(self, fault: Fault) -> web.Response:
        """See the base class."""
        match fault.kind:
            case FaultKind.RATE_LIMITED:
                return _text(429, "Too many connections issued to the database")
            case FaultKind.OVERLOADED:
                return _text(503, "Please reduce your request rate")
            case _:
                return _text(fault.status, "Internal Server Error")


def _check_version(exchange: SandboxExchange) -> None:
    if exchange.request.headers.get("Tus-Resumable") != _VERSION:
        raise Refusal(_text(412, f"Tus-Resumable must be {_VERSION}"))


def _number(text: str | None, header: str) -> int:
    if text is None or not text.isascii() or not text.isdigit():
        raise Refusal(_text(400, f"{header} must be a number of bytes"))
    return int(text)


def _tus_metadata(header: str) -> Mapping[str, str]:
    pairs = (item.strip().partition(" ") for item in header.split(",") if item.strip())
    try:
        metadata = {key: base64.b64decode(value, validate=True).decode() for key, _, value in pairs}
    except ValueError:
        raise Refusal(_text(400, "Upload-Metadata must hold base64 values")) from None
    if not (metadata.get("contentType", "") + metadata.get("cacheControl", "")).isprintable():
        raise Refusal(_text(400, "contentType and cacheControl must be printable"))
    return metadata


def _cache_control(value: str) -> str:
    """Storage takes a number of seconds and nothing else."""
    return f"max-age={value}" if value.removeprefix("-").isdigit() else "no-cache"


def _user_metadata(text: str | None) -> str:
    try:
        metadata: Any = json.loads(text or "{}")
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict):
        raise Refusal(_text(400, "metadata is not a JSON object"))
    return json.dumps(metadata)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(status: int, message: str) -> web.Response:
    return web.Response(status=status, text=message, headers={"Tus-Resumable": _VERSION})


def _answer(status: int, headers: Mapping[str, str]) -> web.Response:
    return web.Response(status=status, headers={"Tus-Resumable": _VERSION, **headers})
