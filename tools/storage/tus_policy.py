"""A resumable upload without any input or output (sans-IO): which requests it takes, and what to do when one fails.

The protocol is TUS 1.0.0 (https://tus.io/protocols/resumable-upload), with Storage's rules: every piece but the last
measures 6 MiB, and what was stored is told by `object/info`, for the protocol knows no ids.

The upload is a generator like the placement: it yields what is to be asked and is sent the answer; a
`StorageError` that a step ends with is thrown into it, and so is whatever ends it from outside.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import unquote

from tools.settings import MEGABYTE
from tools.storage.placement import FoundObject
from tools.storage.port import (
    StorageAnswerError,
    StorageConnectionLostError,
    StorageError,
    StorageUnansweredError,
    StorageUnreachableError,
)
from tools.storage.supabase_terms import StorageAnswer, is_about_the_bucket
from tools.transport.loops import retry_delay
from tools.transport.rest import is_transient

RETRIES: Final = 4
"""So often in a row something may fail and is tried again; whatever arrives begins a new row."""

FIRST_DELAY: Final = 0.5
"""Seconds before something is tried again, doubled with every further failure in the row."""

LONGEST_DELAY: Final = 8.0
"""Seconds, also when Storage advises more."""

GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
"""Storage does not know an upload (any more)."""


class RefusedForGoodError(Exception):
    """Storage refuses, and a retry will not change that."""

    def __init__(self, answer: StorageAnswer) -> None:
        self.answer = answer
        super().__init__(answer.status)


class Retries:
    """How many failures are left before the upload is given up.

    Attributes:
        sent: something may have reached Storage.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._failures = 0
        self._furthest = 0
        self.sent = False

    def note(self, arrived: int) -> None:
        """So many bytes have arrived. Only more than ever before begins a new row of failures."""
        if arrived > self._furthest:
            self._furthest = arrived
            self._failures = 0

    def delay_after(self, failure: StorageAnswer | StorageError) -> float:
        """Seconds to wait after a failure: as many as Storage advises, else more with each in the row.

        Raises:
            StorageError: `failure`, if it is one too many.
            RefusedForGoodError: likewise, when it is an answer; or waiting is of no use.
        """
        if isinstance(failure, StorageAnswer) and not _may_pass(failure.status):
            raise RefusedForGoodError(failure)
        self.sent = self.sent or not isinstance(failure, StorageUnreachableError)
        self._failures += 1
        if not self.sent or self._failures > RETRIES:
            self._give_up(failure)
        return retry_delay(
            self._failures,
            first=FIRST_DELAY,
            longest=LONGEST_DELAY,
            jitter=self._jitter(),
            advised=failure.headers.get("Retry-After", "") if isinstance(failure, StorageAnswer) else "",
        )

    def _give_up(self, failure: StorageAnswer | StorageError) -> NoReturn:
        if isinstance(failure, StorageAnswer):
            raise RefusedForGoodError(failure)
        if self.sent and isinstance(failure, StorageUnreachableError):  # its type would prove that nothing was sent
            raise StorageConnectionLostError(action=failure.action, address=failure.address) from failure
        raise failure


def _may_pass(status: int) -> bool:
    """Whether a refused piece may be taken after a look at the upload: it may be about the offset, or the upload."""
    return is_transient(status) or status in GONE or status == HTTPStatus.CONFLICT


T = TypeVar("T")

PIECE_BYTES: Final = 6 * MEGABYTE
"""What every piece but the last must measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Announce the object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Send `length` bytes from `offset` on to the upload with this id."""

    upload: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FindOffset:
    """Ask how much of this upload has arrived."""

    upload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Have this unfinished upload forgotten. That it cannot be is no error: Storage forgets it by itself in time."""

    upload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identify:
    """Ask what is stored where the object belongs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Wait so many seconds."""

    seconds: float


TusStep = Create | Append | FindOffset | Remove | Identify | Wait
Policy = Generator[TusStep, Any, T]
"""`Remove` and `Wait` are answered with None, every other step with a `StorageAnswer`."""

_NOT_OFFERED = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})


@dataclass(slots=True)
class _ResumableUpload:
    """An upload that Storage has agreed to.

    Attributes:
        id: Storage's name for it.
        may_be_complete: the last piece was sent, and it is not known whether it arrived. Such an upload is never
            removed, for older servers take the stored object's bytes along.
    """

    id: str
    may_be_complete: bool = False


def upload_resumably(*, size: int, key: str, action: str, jitter: Callable[[], float]) -> Policy[StorageAnswer | None]:
    """Upload `size` bytes. Returns what an upload in one request would have been answered.

    None: the server knows no resumable uploads, and nothing was created. `key` is bucket and path, `action` is for
    error texts, `jitter` gives random numbers in [0, 1).

    Raises:
        StorageUnreachableError: nothing was sent.
        StorageError: Storage failed for too long.
        Exception: what was thrown in; an unfinished upload is removed before.
    """
    retries = Retries(jitter)
    try:
        while True:
            upload = yield from _begun(action, retries)
            if upload is None:
                return None
            if (yield from _sent(upload, size, action, retries)):
                found = yield from _identified(action, retries)
                return StorageAnswer(
                    action=action, status=HTTPStatus.OK, body=json.dumps({"Key": key, "Id": found.object_id}).encode()
                )
            # Either Storage has lost the upload, or the object is there: then it refuses to begin it once more.
    except RefusedForGoodError as refused:
        return refused.answer


def _begun(action: str, retries: Retries) -> Policy[_ResumableUpload | None]:
    """Announce the object; None when there are no resumable uploads here."""
    answer = yield from _asked(Create(), retries)
    if answer.status in _NOT_OFFERED and not is_about_the_bucket(answer.status, answer.body.decode(errors="replace")):
        return None
    if not answer.succeeded:
        raise RefusedForGoodError(answer)
    # Only the name is taken, so neither key nor file can be led elsewhere.
    name = unquote(answer.headers.get("Location", "").rstrip("/").rpartition("/")[2])
    if not name:
        raise StorageAnswerError(action=action, problem="the upload was begun, but the answer does not say where")
    return _ResumableUpload(name)


def _sent(upload: _ResumableUpload, size: int, action: str, retries: Retries) -> Policy[bool]:
    """Send all pieces; False when Storage no longer knows the upload, or never said that it made an object of it."""
    try:
        return (yield from _all_pieces(upload, size, action, retries))
    except BaseException as error:
        file_failed = isinstance(error, Exception) and not isinstance(error, StorageError | RefusedForGoodError)
        if file_failed or not upload.may_be_complete:
            yield Remove(upload=upload.id)
        raise


def _all_pieces(upload: _ResumableUpload, size: int, action: str, retries: Retries) -> Policy[bool]:
    offset = 0
    while offset < size:
        length = min(PIECE_BYTES, size - offset)
        upload.may_be_complete = offset + length == size
        outcome = yield from _tried(Append(upload=upload.id, offset=offset, length=length))
        if isinstance(outcome, StorageAnswer) and outcome.succeeded:
            arrived = _offset_in(outcome, size)
            if arrived <= offset:
                nothing_kept = StorageAnswerError(action=action, problem="Storage takes pieces and keeps nothing")
                yield Wait(seconds=retries.delay_after(nothing_kept))
        else:
            found = yield from _looked_after(outcome, upload, offset, size, retries)
            if found is None or found == size:
                return False
            arrived = found
        upload.may_be_complete = False
        retries.note(arrived)
        offset = arrived
    return True


def _looked_after(
    outcome: StorageAnswer | StorageError, upload: _ResumableUpload, offset: int, size: int, retries: Retries
) -> Policy[int | None]:
    """How much has arrived when a piece failed; None when Storage does not know the upload (any more)."""
    yield Wait(seconds=retries.delay_after(outcome))
    head = yield from _asked(FindOffset(upload=upload.id), retries)
    if head.status in GONE:
        return None
    if not head.succeeded:
        raise RefusedForGoodError(head)
    arrived = _offset_in(head, size)
    if isinstance(outcome, StorageAnswer) and outcome.status == HTTPStatus.CONFLICT and arrived == offset:
        raise RefusedForGoodError(outcome)  # not the offset is in conflict, but the object
    return arrived


def _identified(action: str, retries: Retries) -> Policy[FoundObject]:
    """What is known of the object that was just completed. A listing that lags behind is given time."""
    while True:
        found = (yield from _asked(Identify(), retries)).look_outcome()
        if isinstance(found, FoundObject):
            return found
        missing = StorageAnswerError(action=action, problem="Storage has taken the object, but does not know it")
        yield Wait(seconds=retries.delay_after(missing))


def _asked(step: TusStep, retries: Retries) -> Policy[StorageAnswer]:
    """Ask until the answer is one that waiting will not change."""
    while True:
        outcome = yield from _tried(step)
        if isinstance(outcome, StorageAnswer) and not is_transient(outcome.status):
            retries.sent = True
            return outcome
        yield Wait(seconds=retries.delay_after(outcome))


def _tried(step: TusStep) -> Policy[StorageAnswer | StorageError]:
    try:
        answer: StorageAnswer = yield step
    except StorageUnansweredError as failure:
        return failure
    return answer


def _offset_in(answer: StorageAnswer, size: int) -> int:
    text = answer.headers.get("Upload-Offset", "")
    if not (text.isascii() and text.isdigit() and int(text) <= size):
        raise StorageAnswerError(action=answer.action, problem="the answer does not say how much has arrived")
    return int(text)
