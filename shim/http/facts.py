"""What of an HTTP request is compared: everything that a server would act upon, and never contents or credentials."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from aiohttp import BodyPartReader, MultipartReader, hdrs, web
from aiohttp.http_exceptions import BadHttpMessage


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """What a request is for, at whichever address the service is."""

    service: str
    method: str
    path: str


def target_of(addresses: Mapping[str, str], method: str, url: str) -> RequestTarget | None:
    """The service and the path below its address; None for an address of no known service.

    Args:
        addresses: the base address of each service, by its name.
        method: HTTP method.
        url: where the request goes.
    """
    for service, base in addresses.items():
        if url.startswith((base + "/", base + "?")):
            return RequestTarget(service, method.upper(), unquote(urlsplit(url[len(base) :]).path))
    return None


PIECE_BYTES = 64 * 1024
MAX_JSON_BYTES = 64 * 1024
"""A longer JSON body is compared by its digest, like any other body."""

MAX_FIELD_BYTES = 64 * 1024
"""A longer field of a form is compared by its digest."""

CREDENTIAL_HEADERS = frozenset({"apikey", "authorization", "x-api-key"})
"""Headers with a credential, which is compared by its name."""

COMPARED_HEADERS: Mapping[str, Callable[[str], object]] = {
    "accept": str,
    "accept-language": str,
    "cache-control": str,
    "prefer": lambda value: ",".join(sorted(part.strip() for part in value.split(","))),
}
"""Headers that change what a server does, and what of their values is compared; a service may have further ones.

Agents' names, encodings and statistics of SDKs do not.
"""


@dataclass(slots=True)
class RequestFacts:
    """One request as a replay saw it; `filename` and `size` are those of its file part, if it has one."""

    facts: dict[str, object]
    filename: str | None = None
    size: int | None = None


async def read_request(
    request: web.Request,
    target: RequestTarget,
    credentials: Mapping[str, str],
    headers: Mapping[str, Callable[[str], object]] = COMPARED_HEADERS,
) -> RequestFacts:
    """Read a request to its end in pieces, hashing what it carries.

    Args:
        request: the request.
        target: what it is for.
        credentials: the known credentials, with the names under which they may be shown.
        headers: what is compared of which headers, beside credentials.
    """
    seen = RequestFacts(
        facts={
            "service": target.service,
            "method": target.method,
            "path": target.path,
            "query": dict(sorted(request.query.items())),
            "headers": _compared(request.headers, headers) | credential_labels(request.headers, credentials),
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


def _compared(headers: Mapping[str, str], rules: Mapping[str, Callable[[str], object]]) -> dict[str, object]:
    return {name: read(headers[name]) for name, read in rules.items() if name in headers}


def credential_labels(headers: Mapping[str, str], credentials: Mapping[str, str]) -> dict[str, str]:
    """With which credentials a request comes, by the names under which they may be shown."""
    return {name: _labelled(headers[name], credentials) for name in sorted(CREDENTIAL_HEADERS) if name in headers}


def _labelled(value: str, credentials: Mapping[str, str]) -> str:
    scheme, _, credential = value.rpartition(" ")
    return f"{scheme} {credentials.get(credential, '<another credential>')}".strip()


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
