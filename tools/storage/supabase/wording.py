"""What a resumable upload is answered, in the words that Storage has for an upload in one request.

A resumable upload is refused with the true status and with the message as plain text
(https://github.com/supabase/storage, `onResponseError`); the rest of Storage's error has to be known. With it, both
kinds of upload are judged by one rule and read the same.
"""

from __future__ import annotations

import json
from dataclasses import replace
from http import HTTPStatus

from tools.storage.supabase.answers import Answer

_NAMES = {
    400: "InvalidRequest",
    403: "Unauthorized",
    404: "not_found",
    409: "Duplicate",
    413: "Payload too large",
    415: "invalid_mime_type",
    423: "ResourceLocked",
    429: "too_many_connections",
    500: "Internal",
    503: "SlowDown",
    504: "DatabaseTimeout",
    544: "DatabaseTimeout",
}
"""The error that Storage usually names with a status."""

_TOO_LARGE = "The object exceeded the maximum allowed size"
"""The protocol's library has a sentence of its own for this."""


def in_storages_words(answer: Answer) -> Answer:
    """The same refusal as an upload in one request would have met it; what is no refusal of Storage stays as it is."""
    content_type = answer.headers.get("Content-Type", "text/plain")
    if answer.succeeded or not content_type.startswith("text/plain"):
        return answer
    message = answer.body.decode(errors="replace").strip() or "no message"  # the answer to HEAD has none
    if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        message = _TOO_LARGE
    document = {"statusCode": str(answer.status), "error": _name(answer.status, message), "message": message}
    return replace(answer, body=json.dumps(document).encode())


def _name(status: int, message: str) -> str:
    if message.startswith("Invalid key"):
        return "InvalidKey"
    if is_about_the_bucket(status, message):
        return message
    return _NAMES.get(status, "TusError")


def is_about_the_bucket(status: int, message: str) -> bool:
    """Whether the bucket is what was not found."""
    return status == HTTPStatus.NOT_FOUND and "bucket" in message.lower()
