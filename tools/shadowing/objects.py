"""What storing an object comes to, however it was sent: as a form, as the body of one request, or in pieces.

The three ways leave the same in Storage, so they are compared by that: one fact for each object, which is among the
requests where the object became complete. How Storage reads each way: https://github.com/supabase/storage,
`src/storage/uploader.ts` and `src/http/routes/tus/lifecycle.ts`.

What arrives is hashed and forgotten.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from shim.http.facts import RequestTarget
from shim.http.recording import Exchange

SERVICE = "supabase"
RESUMABLE = "/storage/v1/upload/resumable"
_OBJECT = "/storage/v1/object/"
_INFO = "/storage/v1/object/info/"
_ELSEWHERE = frozenset({"info", "list", "list-v2", "public", "authenticated", "sign", "upload"})
"""First parts of paths below `/object` that are no buckets."""

_DEFAULT_TYPE = "application/octet-stream"
_UNCACHED = "no-cache"
_KNOWN_FIELDS = frozenset({"cacheControl", "metadata", "contentType"})

Fact = dict[str, object]


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """Where an object is stored."""

    bucket: str
    path: str

    @classmethod
    def stored_at(cls, target: RequestTarget) -> ObjectKey | None:
        """Where a request in one piece stores an object; None if it does something else."""
        if target.service != SERVICE or target.method not in {"POST", "PUT"}:
            return None
        return cls._below(_OBJECT, target.path)

    @classmethod
    def looked_at(cls, target: RequestTarget) -> ObjectKey | None:
        """Which object a request asks about; None if it does something else."""
        if target.service != SERVICE or target.method not in {"GET", "HEAD"}:
            return None
        return cls._below(_INFO, target.path)

    @classmethod
    def _below(cls, prefix: str, path: str) -> ObjectKey | None:
        if not path.startswith(prefix):
            return None
        bucket, _, name = path.removeprefix(prefix).partition("/")
        return cls(bucket, name) if name and bucket not in _ELSEWHERE else None

    def storing(self, method: str = "POST") -> RequestTarget:
        """The request in one piece that stores an object here."""
        return RequestTarget(SERVICE, method, f"{_OBJECT}{self.bucket}/{self.path}")


def described_by_form(fields: Mapping[str, str], file_type: str | None) -> Fact:
    """The object that a form describes; `file_type` is the content type of its file."""
    seconds = fields.get("cacheControl")
    described: Fact = {
        "content_type": fields.get("contentType") or file_type or _DEFAULT_TYPE,
        "cache_control": f"max-age={seconds}" if seconds else _UNCACHED,
        "metadata": _parsed(fields.get("metadata")),
    }
    unexpected = sorted(set(fields) - _KNOWN_FIELDS)
    return {**described, "unexpected_fields": unexpected} if unexpected else described


def described_by_headers(headers: Mapping[str, str]) -> Fact:
    """The object that a request describes whose body it is."""
    return {
        "content_type": headers.get("Content-Type") or _DEFAULT_TYPE,
        "cache_control": headers.get("Cache-Control") or _UNCACHED,
        "metadata": _parsed(_decoded(headers.get("x-metadata"))),
    }


def described_by_announcement(announced: Mapping[str, str]) -> Fact:
    """The object that a resumable upload announces; see `announcement`."""
    seconds = announced.get("cacheControl", "")
    return {
        "content_type": announced.get("contentType") or _DEFAULT_TYPE,
        "cache_control": f"max-age={seconds}" if seconds.removeprefix("-").isdigit() else _UNCACHED,
        "metadata": _parsed(announced.get("metadata")),
    }


def announcement(header: str) -> dict[str, str]:
    """The values of an `Upload-Metadata` header; what is no base64 is kept as it is."""
    pairs = (item.strip().partition(" ") for item in header.split(","))
    return {name: _decoded(value) or "" for name, _, value in pairs if name}


class ObjectFacts:
    """The facts about objects among all that a replay has seen."""

    def __init__(self, seen: list[Fact]) -> None:
        self._seen = seen

    def begun(self, place: ObjectKey) -> Fact:
        """An object begins to be stored. Unless more is recorded of it, it was never complete."""
        fact: Fact = {
            "service": SERVICE,
            "operation": "store object",
            "bucket": place.bucket,
            "path": place.path,
            "outcome": "never complete",
        }
        self._seen.append(fact)
        return fact

    def stored(self, fact: Fact, *, length: int, sha256: str) -> None:
        """The object is complete: this is its place among the requests."""
        fact |= {"outcome": "stored", "length": length, "sha256": sha256}
        self.forget(fact)
        self._seen.append(fact)

    def refused(self, fact: Fact, *, length: int, recorded: bool) -> None:
        """It was refused. One protocol is refused before a byte is sent, so the content is not compared.

        `recorded` says whether the primary was refused as well; else it never tried to store this.
        """
        fact |= {"outcome": "refused" if recorded else "not recorded", "length": length}
        self.forget(fact)
        self._seen.append(fact)

    def forget(self, fact: Fact) -> None:
        """Take a fact back."""
        self._seen[:] = [other for other in self._seen if other is not fact]


def succeeded(answer: Exchange | None) -> bool:
    """Whether there was an answer, with a status of success."""
    status = None if answer is None else answer.status
    return status is not None and HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _decoded(value: str | None) -> str | None:
    if value is None:
        return None
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        return value


def _parsed(text: str | None) -> object:
    """Metadata are JSON; anything else is compared as it is."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


# The server's half of resumable uploads (TUS 1.0.0) in a replay, without any input or output (sans-IO).

MAX_UPLOADS = 64
"""So many can be unfinished in one replay."""


class ObjectRefusedError(Exception):
    """The protocol forbids this request."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)


@dataclass(slots=True, kw_only=True)
class ObjectInPieces:
    """An object on its way.

    Attributes:
        place: where it is to be stored.
        length: how many bytes it has.
        fact: what is known of it.
        answer: what the primary was answered when it stored it.
        received: how many bytes have arrived.
    """

    place: ObjectKey
    length: int
    fact: Fact
    answer: Exchange
    received: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)
    _busy: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether all of it has arrived."""
        return self.received == self.length

    @property
    def sha256(self) -> str:
        """Hash of what has arrived."""
        return str(self._digest.hexdigest())

    @contextmanager
    def receiving(self, offset: int, length: int) -> Iterator[None]:
        """Take in a piece of `length` bytes that begins at `offset`, by `add`.

        Raises:
            ObjectRefusedError: it does not belong there, or another one is just arriving.
        """
        if self._busy:
            raise ObjectRefusedError(HTTPStatus.LOCKED, "The resource is locked")
        if offset != self.received:
            raise ObjectRefusedError(HTTPStatus.CONFLICT, "Upload-Offset conflict")
        if offset + length > self.length:
            raise ObjectRefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "upload's size exceeded")
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def add(self, data: bytes) -> None:
        """These bytes have arrived."""
        self._digest.update(data)
        self.received += len(data)


class Uploads:
    """All unfinished uploads of one replay, by their names."""

    def __init__(self) -> None:
        self._by_name: dict[str, ObjectInPieces] = {}
        self._begun = 0

    def begin(self, upload: ObjectInPieces) -> str:
        """Take an upload on; returns its name.

        Raises:
            ObjectRefusedError: there are too many.
        """
        if len(self._by_name) >= MAX_UPLOADS:
            raise ObjectRefusedError(HTTPStatus.TOO_MANY_REQUESTS, f"more than {MAX_UPLOADS} uploads are unfinished")
        self._begun += 1
        name = f"upload-{self._begun}"
        self._by_name[name] = upload
        return name

    def get(self, name: str) -> ObjectInPieces:
        """The upload with this name.

        Raises:
            ObjectRefusedError: there is none (any more).
        """
        try:
            return self._by_name[name]
        except KeyError:
            raise ObjectRefusedError(HTTPStatus.NOT_FOUND, "Upload not found") from None

    def end(self, name: str) -> ObjectInPieces:
        """It is complete, or given up.

        Raises:
            ObjectRefusedError: there is none (any more).
        """
        upload = self.get(name)
        del self._by_name[name]
        return upload
