"""What of an HTTP request is compared: everything that a server would act upon, and never contents or credentials."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from aiohttp import BodyPartReader, MultipartReader, hdrs, web
from aiohttp.http_exceptions import BadHttpMessage

from tools.providers.spec import PROVIDERS
from tools.settings import Settings


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is for, wherever the service happens to be."""

    service: str
    method: str
    path: str


def is_listing(target: Target) -> bool:
    """Looking changes nothing and is not compared: one side looks where the other sends again on a guess."""
    return target.service in PROVIDERS and (target.method, target.path) == ("GET", "/files")


def _addresses(settings: Settings) -> Mapping[str, tuple[str, str | None]]:
    """The name of the setting and the address of each service."""
    providers = {name: (each.address_setting, each.address(settings)) for name, each in PROVIDERS.items()}
    return {**providers, "supabase": ("supabase_url", settings.supabase_url)}


def target_of(settings: Settings, method: str, url: str) -> Target | None:
    """The service and the path below its address; None for an address of no known service."""
    for service, (_, base) in _addresses(settings).items():
        if base is not None and url.startswith((base + "/", base + "?")):
            return Target(service, method.upper(), unquote(urlsplit(url[len(base) :]).path))
    return None


def with_every_service_at(recorder: str, settings: Settings) -> Settings:
    """The same settings with every service at the recorder's address."""
    return settings.model_copy(
        update={field: f"{recorder}/{service}" for service, (field, base) in _addresses(settings).items() if base}
    )


def known_credentials(settings: Settings) -> dict[str, str]:
    """Each configured credential with the name under which a report may show it."""
    secrets = {each.key_setting: each.secret(settings) for each in PROVIDERS.values()}
    secrets["supabase_service_role_key"] = settings.supabase_service_role_key
    return {secret.get_secret_value(): f"<{field}>" for field, secret in secrets.items() if secret is not None}


# What of an HTTP request is compared: everything that a server would act upon, and never contents or credentials.

PIECE_BYTES = 64 * 1024
MAX_JSON_BYTES = 64 * 1024
"""A longer JSON body is compared by its digest, like any other body."""

MAX_FIELD_BYTES = 64 * 1024
"""A longer field of a form is compared by its digest."""

COMPARED_HEADERS = (
    "accept",
    "accept-language",
    "accept-profile",
    "apikey",
    "authorization",
    "cache-control",
    "content-profile",
    "prefer",
    "x-metadata",
    "x-upsert",
)
"""Headers that change what a server does; agents' names, encodings and SDK statistics do not."""


@dataclass(slots=True)
class RequestFacts:
    """One request as a rehearsal saw it; `filename` and `size` are those of its file part, if it has one."""

    facts: dict[str, object]
    filename: str | None = None
    size: int | None = None


async def read_request(request: web.Request, target: Target, credentials: Mapping[str, str]) -> RequestFacts:
    """Read a request to its end in pieces, hashing what it carries."""
    seen = RequestFacts(
        facts={
            "service": target.service,
            "method": target.method,
            "path": target.path,
            "query": dict(sorted(request.query.items())),
            "headers": _headers(request.headers, credentials),
            "framing": "chunked" if request.headers.get(hdrs.TRANSFER_ENCODING) else "content-length",
        }
    )
    if request.content_type.startswith("multipart/"):
        try:
            await _read_parts(request, seen)
        except BadHttpMessage:  # a control character in a name, which is for the real server to judge
            await digest_of(request.content.read)
            seen.facts["unreadable"] = f"a form of {request.content_length} bytes"
    elif request.body_exists:
        seen.facts["content_type"] = request.headers.get(hdrs.CONTENT_TYPE, "")
        seen.facts["body"] = await _read_body(request)
    return seen


def _headers(headers: Mapping[str, str], credentials: Mapping[str, str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in COMPARED_HEADERS:
        value = headers.get(name)
        if value is None:
            continue
        if name in {"apikey", "authorization"}:
            found[name] = _labelled(value, credentials)
        elif name == "x-metadata":
            found[name] = _metadata(value)
        elif name == "prefer":
            found[name] = ",".join(sorted(part.strip() for part in value.split(",")))
        else:
            found[name] = value
    return found


def credential_labels(headers: Mapping[str, str], credentials: Mapping[str, str]) -> dict[str, str]:
    """With which credentials a request to Supabase comes, by the names under which they may be shown."""
    return {name: _labelled(headers[name], credentials) for name in ("apikey", "authorization") if name in headers}


def _labelled(value: str, credentials: Mapping[str, str]) -> str:
    scheme, _, credential = value.rpartition(" ")
    return f"{scheme} {credentials.get(credential, '<another credential>')}".strip()


def _metadata(value: str) -> object:
    """Supabase's object metadata: JSON in base64; anything else is compared as it is."""
    try:
        return json.loads(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        return value


async def _read_parts(request: web.Request, seen: RequestFacts) -> None:
    parts: list[dict[str, object]] = []
    seen.facts["parts"] = parts
    reader: MultipartReader = await request.multipart()
    while (part := await reader.next()) is not None:
        if not isinstance(part, BodyPartReader):
            parts.append({"name": "(nested multipart)"})
            continue
        facts: dict[str, object] = {f"header.{name.lower()}": value for name, value in sorted(part.headers.items())}
        filename = file_name(part)
        if filename is None:
            facts["value"] = await read_field(part)
        else:
            length, digest = await digest_of(part.read_chunk)
            facts |= {"length": length, "sha256": digest}
            seen.filename, seen.size = filename, length
        parts.append(facts)


_FILE_NAME = re.compile(r';\s*filename\*?="?(.*?)"?$', re.DOTALL)


def file_name(part: BodyPartReader) -> str | None:
    """The file name in a part's header, as it stands there; None if the part is a field.

    aiohttp takes a part for a field when it cannot read the name, so contents would be compared, and shown, as a value.
    """
    found = _FILE_NAME.search(part.headers.get(hdrs.CONTENT_DISPOSITION, ""))
    return None if found is None else found[1]


async def _read_body(request: web.Request) -> object:
    if request.content_type == "application/json" and (request.content_length or 0) <= MAX_JSON_BYTES:
        raw = await request.read()
        try:
            return json.loads(raw)
        except ValueError:
            return {"length": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    length, digest = await digest_of(request.content.read)
    return {"length": length, "sha256": digest}


async def read_field(part: BodyPartReader) -> str:
    """The text of a form's field; of a long one its length and digest."""
    text = bytearray()
    while piece := await part.read_chunk(PIECE_BYTES):
        text += piece
        if len(text) > MAX_FIELD_BYTES:
            length, digest = await digest_of(part.read_chunk, begun=bytes(text))
            return f"({length} bytes with the sha256 {digest})"
    return text.decode(errors="replace")


async def digest_of(read: Callable[[int], Any], *, begun: bytes = b"") -> tuple[int, str]:
    """Length and sha256 of what `read` gives, after what was read of it before."""
    hasher, length = hashlib.sha256(begun), len(begun)
    while piece := await read(PIECE_BYTES):
        hasher.update(piece)
        length += len(piece)
    return length, hasher.hexdigest()
