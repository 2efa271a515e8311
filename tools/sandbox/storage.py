"""Stand-in for Supabase Storage: its requests about buckets and objects."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from tools.sandbox.faults import SUPABASE, Fault, FaultKind
from tools.sandbox.intake import File, SandboxExchange, read_form, read_object, read_raw, text_of_header
from tools.sandbox.objects import Bucket, Objects, StoredObject, folder_listing
from tools.sandbox.serving import Endpoint, Refusal, Service, World, json_response

_VALID_KEY = re.compile(r"[A-Za-z0-9_/!.*'() &$@=;:+,?-]+")
_DEFAULT_PAGE = 100
_MAX_PREFIXES = 1000


class Storage(Service):
    """`/storage/v1`. Ordinary errors are HTTP 400 with the true status as a string in the body."""

    name = SUPABASE
    prefix = "/supabase/storage/v1"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._objects = Objects(world.store, world.clock)

    def endpoints(self) -> Sequence[Endpoint]:
        """See the base class."""
        one = "/object/{bucket}/{name:.+}"
        return (
            Endpoint("bucket.create", "POST", "/bucket", self._create_bucket),
            Endpoint("bucket.list", "GET", "/bucket", self._list_buckets),
            Endpoint("bucket.get", "GET", "/bucket/{bucket}", self._get_bucket),
            Endpoint("object.list", "POST", "/object/list/{bucket}", self._list),
            Endpoint("object.info", "GET", "/object/info/{bucket}/{name:.+}", self._info),
            Endpoint("object.info", "GET", "/object/info/authenticated/{bucket}/{name:.+}", self._info),
            Endpoint("object.download", "GET", "/object/authenticated/{bucket}/{name:.+}", self._download),
            Endpoint("object.upload", "POST", one, self._upload),
            Endpoint("object.upload", "PUT", one, self._replace),
            Endpoint("object.download", "GET", one, self._download),
            Endpoint("object.remove", "DELETE", one, self._remove_one),
            Endpoint("object.remove", "DELETE", "/object/{bucket}", self._remove),
        )

    async def _create_bucket(self, exchange: SandboxExchange) -> web.Response:
        body = await read_object(exchange)
        identity = body.get("id") or body.get("name")
        size, types = body.get("file_size_limit"), body.get("allowed_mime_types")
        if not isinstance(identity, str) or not is_valid_key(identity) or "/" in identity:
            return error(400, "InvalidRequest", "Bucket name invalid", "InvalidBucketName")
        if not (size is None or (isinstance(size, int) and size >= 0)):
            return error(400, "InvalidRequest", "file_size_limit must be a number of bytes", "InvalidRequest")
        if not (types is None or (isinstance(types, list) and all(isinstance(kind, str) for kind in types))):
            return error(400, "InvalidRequest", "allowed_mime_types must be a list of texts", "InvalidRequest")
        if self._objects.bucket(identity):
            return error(409, "Duplicate", "The resource already exists", "BucketAlreadyExists")
        self._objects.add_bucket(
            identity, public=body.get("public") is True, file_size_limit=size, allowed_mime_types=types
        )
        return json_response({"name": identity})

    async def _list_buckets(self, _: SandboxExchange) -> web.Response:
        return json_response([bucket.to_json() for bucket in self._objects.buckets()])

    async def _get_bucket(self, exchange: SandboxExchange) -> web.Response:
        return json_response(self._bucket(exchange).to_json())

    async def _upload(self, exchange: SandboxExchange) -> web.Response:
        return await self._put(exchange, replaces=upserts(exchange))

    async def _replace(self, exchange: SandboxExchange) -> web.Response:
        return await self._put(exchange, replaces=True)

    async def _put(self, exchange: SandboxExchange, *, replaces: bool) -> web.Response:
        bucket, name = self._bucket(exchange), exchange.request.match_info["name"]
        if not is_valid_key(name):
            return error(400, "InvalidKey", f"Invalid key: {name}", "InvalidKey")
        limit = size_limit(bucket, self.world)
        if exchange.request.content_type.startswith("multipart/"):
            form = await read_form(exchange, max_bytes=limit, file_field=None)
            file, fields = form.file, form.fields
            metadata = _json_metadata(fields.get("metadata"))
            cache_control = f"max-age={fields['cacheControl']}" if fields.get("cacheControl") else "no-cache"
        else:
            file = await read_raw(exchange, max_bytes=limit)
            metadata = _json_metadata(_decoded(exchange.request.headers.get("x-metadata")))
            cache_control = text_of_header(exchange.request.headers.get("Cache-Control", "no-cache"))
        if not cache_control.isprintable():
            return error(400, "InvalidRequest", "cacheControl must be printable", "InvalidRequest")
        refusal = self._refusal_of(file, bucket, name, replaces=replaces)
        if refusal or file is None:
            return refusal or error(400, "InvalidRequest", "no file was sent", "InvalidRequest")
        stored = self._objects.put(bucket.id, name, file, cache_control=cache_control, metadata=metadata)
        return json_response({"Key": f"{bucket.id}/{name}", "Id": stored.id})

    def _refusal_of(self, file: File | None, bucket: Bucket, name: str, *, replaces: bool) -> web.Response | None:
        if file is not None and file.body is None:
            return error(413, "Payload too large", "The object exceeded the maximum allowed size", "EntityTooLarge")
        if file is not None and not bucket.accepts(file.content_type):
            return error(415, "invalid_mime_type", f"mime type {file.content_type} is not supported", "InvalidMimeType")
        if not replaces and self._objects.find(bucket.id, name):
            return error(409, "Duplicate", "The resource already exists", "KeyAlreadyExists")
        return None

    async def _list(self, exchange: SandboxExchange) -> web.Response:
        bucket, body = self._bucket(exchange), await read_object(exchange)
        sort = body.get("sortBy") or {}
        if not isinstance(sort, dict):
            return error(400, "InvalidRequest", "sortBy is invalid", "InvalidRequest")
        column, order = sort.get("column") or "name", sort.get("order") or "asc"
        limit, offset = body.get("limit", _DEFAULT_PAGE), body.get("offset", 0)
        if column not in {"name", "created_at", "updated_at", "last_accessed_at"} or order not in {"asc", "desc"}:
            return error(400, "InvalidRequest", "sortBy is invalid", "InvalidRequest")
        if not isinstance(limit, int) or not isinstance(offset, int) or limit < 1 or offset < 0:
            return error(400, "InvalidRequest", "limit and offset must be numbers", "InvalidRequest")
        found = folder_listing(
            self._objects.all(bucket.id), str(body.get("prefix") or ""), str(body.get("search") or "")
        )
        found.sort(key=lambda row: (row["id"] is not None, row[column] or ""), reverse=order == "desc")
        return json_response(found[offset : offset + limit])

    async def _info(self, exchange: SandboxExchange) -> web.Response:
        return json_response(self._object(exchange).info())

    async def _download(self, exchange: SandboxExchange) -> web.StreamResponse:
        stored = self._object(exchange)
        headers = {"Content-Type": stored.content_type, "ETag": stored.etag, "Cache-Control": stored.cache_control}
        return web.FileResponse(self.world.store.body_path(stored.body), headers=headers)

    async def _remove(self, exchange: SandboxExchange) -> web.Response:
        bucket, body = self._bucket(exchange), await read_object(exchange)
        names = body.get("prefixes")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return error(400, "InvalidRequest", "body must have required property 'prefixes'", "InvalidRequest")
        if len(names) > _MAX_PREFIXES:
            return error(400, "InvalidRequest", f"prefixes must not hold more than {_MAX_PREFIXES}", "InvalidRequest")
        found = [stored for name in dict.fromkeys(names) if (stored := self._objects.find(bucket.id, name))]
        for stored in found:
            self._objects.remove(stored)
        return json_response([stored.row() for stored in found])

    async def _remove_one(self, exchange: SandboxExchange) -> web.Response:
        self._objects.remove(self._object(exchange))
        return json_response({"message": "Successfully deleted"})

    def _bucket(self, exchange: SandboxExchange) -> Bucket:
        bucket = self._objects.bucket(exchange.request.match_info["bucket"])
        if bucket is None:
            raise Refusal(error(404, "Bucket not found", "Bucket not found", "NoSuchBucket"))
        return bucket

    def _object(self, exchange: SandboxExchange) -> StoredObject:
        stored = self._objects.find(self._bucket(exchange).id, exchange.request.match_info["name"])
        if stored is None:
            raise Refusal(error(404, "not_found", "Object not found", "NoSuchKey"))
        return stored

    def refuse(self, status: int, message: str) -> web.Response:
        """See the base class."""
        if status == web.HTTPInternalServerError.status_code:
            return error(status, "Internal", message, "InternalError", outside=status)
        return error(status, "InvalidRequest", message, "InvalidRequest")

    def unauthorized(self, *, key_given: bool) -> web.Response:
        """See the base class."""
        message = "Invalid Compact JWS" if key_given else "headers must have required property 'authorization'"
        return error(403, "Unauthorized", message, "AccessDenied")

    def faulty(self, fault: Fault) -> web.Response:
        """See the base class. What is transient carries its true status on the outside too."""
        match fault.kind:
            case FaultKind.RATE_LIMITED:
                message = "Too many connections issued to the database"
                return error(429, "too_many_connections", message, "SlowDown", outside=429)
            case FaultKind.OVERLOADED:
                return error(503, "SlowDown", "Please reduce your request rate", "SlowDown", outside=503)
            case _:
                timeout = fault.status in {504, 544}
                name, code = ("DatabaseTimeout",) * 2 if timeout else ("Internal", "InternalError")
                return error(fault.status, name, "Internal Server Error", code, outside=fault.status)


def error(status: int, name: str, message: str, code: str, *, outside: int = 400) -> web.Response:
    """A Storage error: `status` is the true one, `outside` the one that HTTP shows."""
    return json_response({"statusCode": str(status), "error": name, "message": message, "code": code}, outside)


def is_valid_key(name: str) -> bool:
    """Whether an object can have this name."""
    return _VALID_KEY.fullmatch(name) is not None


def upserts(exchange: SandboxExchange) -> bool:
    """Whether a request may replace an object."""
    return exchange.request.headers.get("x-upsert", "").lower() == "true"


def size_limit(bucket: Bucket, world: World) -> int:
    """How many bytes an object in this bucket may have."""
    return min(world.limits.storage_max_bytes, bucket.file_size_limit or world.limits.storage_max_bytes)


def _decoded(encoded: str | None) -> str | None:
    if encoded is None:
        return None
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except ValueError:
        raise Refusal(error(400, "InvalidRequest", "x-metadata is not base64", "InvalidRequest")) from None


def _json_metadata(text: str | None) -> Mapping[str, Any]:
    if not text:
        return {}
    try:
        metadata = json.loads(text)
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict):
        raise Refusal(error(400, "InvalidRequest", "metadata is not a JSON object", "InvalidRequest"))
    return metadata
