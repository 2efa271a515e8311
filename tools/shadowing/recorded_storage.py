"""Storage in a replay: takes objects in whichever way they come, and answers what the primary was answered.

The primary may have been answered in another protocol than the replayed side speaks; then the answer is translated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from aiohttp import BodyPartReader, MultipartReader, hdrs, web

from shim.http.facts import PIECE_BYTES, RequestTarget, credential_labels, digest_of, file_name, read_field
from shim.http.recorder import AnswerBook, repeated, sendable
from shim.http.recording import Exchange
from tools.shadowing.objects import (
    RESUMABLE,
    SERVICE,
    Fact,
    ObjectFacts,
    ObjectInPieces,
    ObjectKey,
    ObjectRefusedError,
    Uploads,
    announcement,
    described_by_announcement,
    described_by_form,
    described_by_headers,
    succeeded,
)
from tools.storage.local import LocalStorage
from tools.storage.port import ProviderName, StorageError, UploadRow, UploadStorage

if TYPE_CHECKING:
    from tools.transport.reading import FileSource

STORED_PIECE_BYTES = 6 * 1024 * 1024
"""What Storage wants every piece but the last to measure
(https://supabase.com/docs/guides/storage/uploads/resumable-uploads)."""

_TUS = {"Tus-Resumable": "1.0.0"}
_NOT_FOUND = {"statusCode": "404", "error": "not_found", "message": "Object not found"}


class RehearsedStorage:
    """Storage for one replay."""

    def __init__(self, answers: AnswerBook, credentials: Mapping[str, str], seen: list[Fact]) -> None:
        self._answers = answers
        self._credentials = credentials
        self._facts = ObjectFacts(seen)
        self._uploads = Uploads()
        self._refused: dict[ObjectKey, tuple[Fact, Exchange | None]] = {}
        self._stored: dict[ObjectKey, ObjectInPieces] = {}

    async def answer(self, request: web.Request, target: RequestTarget) -> web.Response | None:
        """Carry out a request about objects; None if it is about something else."""
        if target.service == SERVICE and target.path.startswith(RESUMABLE):
            try:
                return await self._resumable(request, target)
            except ObjectRefusedError as refused:
                return web.Response(status=refused.status, text=refused.message, headers=_TUS)
        if (place := ObjectKey.stored_at(target)) is not None:
            return await self._store(request, target, place)
        if (place := ObjectKey.looked_at(target)) is not None:
            return self._look(target, place)
        return None

    async def _store(self, request: web.Request, target: RequestTarget, place: ObjectKey) -> web.Response:
        """An object that comes in one request."""
        fact = self._begun(request, place)
        if request.content_type.startswith("multipart/"):
            length, sha256 = await _read_form(request, fact)
        else:
            fact |= described_by_headers(request.headers)
            length, sha256 = await digest_of(request.content.read)
        answer = self._answer_to(place, target.method)
        if succeeded(answer):
            self._facts.stored(fact, length=length, sha256=sha256)
        else:
            self._facts.refused(fact, length=length, recorded=answer is not None)
        return repeated(answer)

    async def _resumable(self, request: web.Request, target: RequestTarget) -> web.Response:
        """A request about an object that comes in pieces."""
        name = target.path.removeprefix(RESUMABLE).strip("/")
        if target.method == "POST" and not name:
            return self._announced(request)
        upload = self._uploads.get(name)
        self._claim(upload.fact, request)
        match target.method:
            case "PATCH":
                offset, length = _number(request, "Upload-Offset"), _number(request, hdrs.CONTENT_LENGTH)
                with upload.receiving(offset, length):
                    if length != STORED_PIECE_BYTES and offset + length < upload.length:
                        wanted = f"a piece must have {STORED_PIECE_BYTES} bytes, or be the last"
                        raise ObjectRefusedError(HTTPStatus.BAD_REQUEST, wanted)
                    while data := await request.content.read(PIECE_BYTES):
                        upload.add(data)
                if upload.is_complete:
                    self._completed(self._uploads.end(name))
                return web.Response(status=204, headers=_TUS | {"Upload-Offset": str(upload.received)})
            case "HEAD":
                told = {"Upload-Offset": str(upload.received), "Upload-Length": str(upload.length)}
                return web.Response(headers=_TUS | told)
            case "DELETE":
                self._uploads.end(name)
                return web.Response(status=204, headers=_TUS)
        raise ObjectRefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "Method not allowed")

    def _announced(self, request: web.Request) -> web.Response:
        announced = announcement(request.headers.get("Upload-Metadata", ""))
        place = ObjectKey(announced.get("bucketName", ""), announced.get("objectName", ""))
        length = _number(request, "Upload-Length")
        answer = self._answer_to(place)
        fact = self._begun(request, place)
        fact |= described_by_announcement(announced)
        if answer is None or not succeeded(answer):
            self._facts.refused(fact, length=length, recorded=answer is not None)
            self._refused[place] = (fact, answer)
            return repeated_in_tus(answer)
        upload = ObjectInPieces(place=place, length=length, fact=fact, answer=answer)
        name = self._uploads.begin(upload)
        if upload.is_complete:
            self._completed(self._uploads.end(name))
        location = str(request.url.with_query(None) / name)
        return web.Response(status=201, headers=_TUS | {"Location": location})

    def _completed(self, upload: ObjectInPieces) -> None:
        self._stored[upload.place] = upload
        self._facts.stored(upload.fact, length=upload.length, sha256=upload.sha256)

    def _look(self, target: RequestTarget, place: ObjectKey) -> web.Response:
        """Looking changes nothing and is no fact: an upload in pieces asks for the id that a form is answered with."""
        upload = self._stored.get(place)
        object_id = None if upload is None else _object_id(upload.answer)
        if upload is not None and object_id is not None:
            document = {"id": object_id, "name": place.path, "bucket_id": place.bucket, "size": upload.length}
            return web.json_response(document | {"metadata": upload.fact["metadata"]})
        answer = self._answers.take(target)
        return web.json_response(_NOT_FOUND, status=400) if answer is None else repeated(answer)

    def _answer_to(self, place: ObjectKey, method: str = "POST") -> Exchange | None:
        """What the primary was answered when it stored this object.

        A client that was refused before a byte was sent may ask again, or in another way: one refusal, one fact.
        """
        answer = self._answers.take(place.storing(method))
        if answer is None and place in self._refused:
            fact, answer = self._refused.pop(place)
            self._facts.forget(fact)
        return answer

    def _begun(self, request: web.Request, place: ObjectKey) -> Fact:
        fact = self._facts.begun(place)
        fact["credentials"] = credential_labels(request.headers, self._credentials)
        fact["upsert"] = False
        self._claim(fact, request)
        return fact

    def _claim(self, fact: Fact, request: web.Request) -> None:
        """Take note of what every request of an upload says: one that may replace is enough to replace."""
        if request.headers.get("x-upsert", "").lower() == "true":
            fact["upsert"] = True
        labels = credential_labels(request.headers, self._credentials)
        if labels != fact["credentials"]:
            fact["other_credentials"] = labels


def repeated_in_tus(answer: Exchange | None) -> web.Response:
    """The recorded refusal of an object as a resumable upload meets it: the true status, and the message as text."""
    headers = {"Tus-Resumable": "1.0.0", "Retry-After": "0"}
    if answer is None or answer.status is None:
        return web.Response(status=501, headers=headers)
    try:
        document = json.loads(answer.body)
        return web.Response(status=int(document["statusCode"]), text=str(document["message"]), headers=headers)
    except (ValueError, LookupError, TypeError):  # not in Storage's words, so it came from a proxy
        return web.Response(status=answer.status, headers=sendable(answer.headers) | headers, body=answer.body)


async def _read_form(request: web.Request, fact: Fact) -> tuple[int, str]:
    """Length and digest of a form's file; what the form says of it becomes part of the fact."""
    fields: dict[str, str] = {}
    file_type: str | None = None
    length, sha256 = 0, ""
    reader: MultipartReader = await request.multipart()
    while (part := await reader.next()) is not None:
        if not isinstance(part, BodyPartReader):
            fields["(nested multipart)"] = ""
        elif file_name(part) is None:
            fields[part.name or ""] = await read_field(part)
        else:
            file_type = part.headers.get(hdrs.CONTENT_TYPE)
            length, sha256 = await digest_of(part.read_chunk)
    fact |= described_by_form(fields, file_type)
    return length, sha256


def _object_id(answer: Exchange) -> str | None:
    try:
        document = json.loads(answer.body)
    except ValueError:
        return None
    found = document.get("Id") if isinstance(document, dict) else None
    return found if isinstance(found, str) else None


def _number(request: web.Request, header: str) -> int:
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdigit()):
        raise ObjectRefusedError(HTTPStatus.BAD_REQUEST, f"{header} must be a number of bytes")
    return int(text)


# A storage that keeps nothing: it notes what it is asked and answers what the primary's storage answered.

LOCAL = "storage"
"""The service name of the embedded storage, whose operations are recorded like requests."""


@runtime_checkable
class Movable(Protocol):
    """A storage that is reached over HTTP, and can be reached elsewhere instead."""

    def moved_to(self, url: str) -> UploadStorage:
        """The same storage at another address."""
        ...


class NotRecordedError(StorageError):
    """The replayed side asked the storage for something that the primary never asked."""


def rehearsal_storage(
    storage: object, recorder: str, answers: AnswerBook, seen: list[dict[str, object]]
) -> UploadStorage | None:
    """A replacement of `storage` that has no effect; None for a kind for which there is none."""
    if isinstance(storage, LocalStorage):
        return RehearsalStorage(answers, seen)
    if isinstance(storage, Movable):
        return storage.moved_to(f"{recorder}/supabase")
    return None


class RehearsalStorage:
    """Replaces the embedded storage."""

    def __init__(self, answers: AnswerBook, seen: list[dict[str, object]]) -> None:
        self._answers = answers
        self._seen = seen

    def upload_file(
        self, file_path: str, file_data: bytes, original_name: str, mime_type: str | None, file_type: str
    ) -> str:
        """Note the object by length and digest."""
        found = {"length": len(file_data), "sha256": hashlib.sha256(file_data).hexdigest()}
        return str(self._ask("upload_file", file_path, found, _labels(original_name, mime_type, file_type)))

    async def upload_file_streaming(
        self, file_path: str, source: FileSource, original_name: str, mime_type: str | None, file_type: str
    ) -> str:
        """Note the object by length and digest."""
        hasher, length = hashlib.sha256(), 0
        async for piece in source.chunks():
            hasher.update(piece)
            length += len(piece)
        found = {"length": length, "sha256": hasher.hexdigest()}
        return str(self._ask("upload_file", file_path, found, _labels(original_name, mime_type, file_type)))

    def record_upload(self, row: UploadRow) -> None:
        """Note the row."""
        self._ask("record_upload", row.provider_file_id, asdict(row), {})

    async def record_upload_async(self, row: UploadRow) -> None:
        """Note the row."""
        self.record_upload(row)

    def find_upload(self, *, sha256: str, provider: ProviderName) -> UploadRow | None:
        """Answer as the primary was answered."""
        found = self._ask("find_upload", f"{provider}/{sha256}", None, {})
        return UploadRow(**found) if isinstance(found, dict) else None

    async def find_upload_async(self, *, sha256: str, provider: ProviderName) -> UploadRow | None:
        """Answer as the primary was answered."""
        return self.find_upload(sha256=sha256, provider=provider)

    def _ask(self, operation: str, path: str, body: object, labels: Mapping[str, object]) -> object:
        self._seen.append({"service": LOCAL, "method": operation, "path": path, "body": body, **labels})
        answer = self._answers.take(RequestTarget(LOCAL, operation, path))
        if answer is None:
            raise NotRecordedError(f"{operation} {path!r} is not part of the call that is rehearsed")
        result = json.loads(answer.body)
        if answer.status != 200:  # noqa: PLR2004  # the status of a recorded success
            raise StorageError(result)
        return result


def _labels(original_name: str, mime_type: str | None, file_type: str) -> dict[str, object]:
    return {"original_name": original_name, "mime_type": mime_type, "file_type": file_type}
