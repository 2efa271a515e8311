"""What Supabase's answers mean, whichever client received them.

Storage answers ordinary errors with status 400 and the true status as text inside:
`{"statusCode":"409","error":"Duplicate","message":"The resource already exists"}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from tools.storage.errors import StorageAnswerError, StorageRefusedError
from tools.storage.placement import Absent, BucketMissing, Done, Found, Outcome, Stored, Taken

_SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of Storage, read to its end.

    Attributes:
        action: what was asked, for error texts.
        status: HTTP status.
        body: the body.
        headers: the headers; their names are found in any case.
        cause: what the client made of it, if it raised.
    """

    action: str
    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    cause: Exception | None = None

    def put_outcome(self) -> Outcome:
        """What came of storing an object."""
        if self.succeeded:
            return Stored(object_id=_text(self._document(), "Id"))
        problem = self._problem()
        if problem.status == HTTPStatus.CONFLICT or problem.code == "Duplicate":
            return Taken()
        if problem.status == HTTPStatus.NOT_FOUND and "bucket" in f"{problem.code} {problem.message}".lower():
            return BucketMissing()
        raise problem from self.cause

    def look_outcome(self) -> Outcome:
        """What is stored where it was asked."""
        if self.succeeded:
            return self._found()
        problem = self._problem()
        if problem.status == HTTPStatus.NOT_FOUND:
            return Absent()
        raise problem from self.cause

    def create_outcome(self) -> Outcome:
        """What came of creating the bucket. That somebody else was quicker is as good."""
        if self.succeeded:
            return Done()
        problem = self._problem()
        if problem.status == HTTPStatus.CONFLICT:
            return Done()
        raise problem from self.cause

    @property
    def succeeded(self) -> bool:
        """Whether Storage did what it was asked."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def _found(self) -> Found:
        document = self._document()
        object_id, size, metadata = document.get("id"), document.get("size"), document.get("metadata")
        if not isinstance(object_id, str) or not isinstance(size, int):
            raise StorageAnswerError(action=self.action, problem="the answer lacks the object's id or size")
        return Found(
            object_id=object_id, size=size, sha256=_text(metadata, "sha256") if isinstance(metadata, Mapping) else None
        )

    def _document(self) -> Mapping[str, object]:
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise StorageAnswerError(action=self.action, problem="the answer is not JSON") from error
        if not isinstance(document, dict):
            raise StorageAnswerError(action=self.action, problem="the answer is not a JSON object")
        return document

    def _problem(self) -> StorageRefusedError:
        try:
            document = self._document()
            return StorageRefusedError(
                action=self.action,
                status=int(str(document["statusCode"])),
                code=str(document["error"]),
                message=str(document["message"]),
            )
        except (StorageAnswerError, KeyError, ValueError):
            shown = self.body.decode(errors="replace")[:_SHOWN_CHARACTERS].strip()
            return StorageRefusedError(action=self.action, status=self.status, code="unexpected answer", message=shown)


def _text(document: Mapping[str, object], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) and value else None
