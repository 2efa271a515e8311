"""Brings a file to a provider once: as persistent as the vendor's SDK, but never twice.

The SDKs send again after any failure, and so make a second file whenever only the answer was lost. Here a failure that
leaves the outcome open is followed by a look at what the provider has. A refusal that no retry will change is not
followed by anything. What each request teaches about the provider goes to the throttle.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

from shim.http.attempts import Attempt, Attempts
from tools.engine.listing import Likeness, awaiting_answer, claim, find_upload
from tools.engine.throttle import LONGEST_HOLD_SECONDS, Place, request_place
from tools.errors import MissingKeyError
from tools.journal.upload import JournaledUpload
from tools.providers.answers import NoFileIdError, listed_name
from tools.providers.sdk import advised_delay
from tools.providers.spec import Provider
from tools.settings import get_settings
from tools.transport.errors import (
    AmbiguousListingError,
    ConnectionLostError,
    ConnectionNotMadeError,
    FileChangedError,
    HttpStatusError,
    ListingUnavailableError,
    ServerFailedError,
    TransportError,
)
from tools.transport.loops import SYSTEM_CLOCK, Clock
from tools.transport.reading import FileSource
from tools.transport.upload import post_file

_SECOND_LOOK_SECONDS = 1.0
"""A listing may lag behind; a single look may lead to a file that is sent twice."""

_SENT_AGAIN = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """A failed attempt.

    Attributes:
        error: what went wrong.
        open_outcome: the file may have been made all the same.
        retry: the SDK would send again, and that can help.
        busy: the provider is asked too much, and will not be later.
    """

    error: TransportError | HttpStatusError | NoFileIdError
    open_outcome: bool
    retry: bool
    busy: bool = False

    @property
    def headers(self) -> dict[str, str]:
        return self.error.headers if isinstance(self.error, HttpStatusError) else {}


async def deliver(
    provider: Provider,
    source: FileSource,
    *,
    purpose: str,
    clock: Clock = SYSTEM_CLOCK,
    journaled: JournaledUpload | None = None,
) -> str:
    """Upload a file and return the provider's id of it.

    The `attempts` of `journaled` say then how often it was sent, and with what outcome.

    Raises:
        ConnectionNotMadeError: nothing was sent, in any attempt.
        TransportError: there was no usable answer, and the file could not be found at the provider.
        HttpStatusError: the provider refused.
        UnusableAnswerError, NoFileIdError: its answer names no file.
        MissingKeyError: no key is configured.
        FileChangedError, OSError: the file cannot be read as it was.
    """
    likeness = likeness_of(provider, source, purpose)
    attempts = Attempts() if journaled is None else journaled.attempts
    began = clock.now()
    sent = False
    retry = refusals = 0
    while True:
        async with request_place(provider, source.size, refusals=refusals, clock=clock) as place:
            outcome = await _attempt(provider, source, likeness, attempts.begin())
            _report(place, outcome, shortest_delay=provider.sdk.retry_delay(retry, {}, jitter=1.0) or 0.0)
        if isinstance(outcome, str):
            return outcome
        sent = sent or not isinstance(outcome.error, ConnectionNotMadeError)
        error = _as_seen_from_outside(outcome.error, sent=sent)
        if outcome.open_outcome:
            found = await _look_for(provider, likeness, journaled, began=began, clock=clock, cause=error)
            if found is not None:
                attempts.settle_last()
                return found
        delay = provider.sdk.retry_delay(retry, outcome.headers, jitter=clock.jitter())
        if not outcome.retry or retry == provider.sdk.retries or delay is None:
            raise error
        await clock.sleep(delay)
        retry += 1
        refusals += outcome.busy


def likeness_of(provider: Provider, source: FileSource, purpose: str) -> Likeness:
    """What a listing shows of this upload."""
    return Likeness(provider=provider.name, filename=listed_name(source.name), size=source.size, purpose=purpose)


async def _attempt(provider: Provider, source: FileSource, likeness: Likeness, attempt: Attempt) -> str | _Failure:
    settings = get_settings()
    async with awaiting_answer(likeness):
        try:
            answer = await post_file(
                provider.files_address(settings),
                source,
                purpose=likeness.purpose,
                headers=provider.headers(settings),
            )
            attempt.status = answer.status
            answer.raise_for_status()
        except ConnectionNotMadeError as error:
            attempt.settled = True
            return _Failure(error=error, open_outcome=False, retry=True)
        except TransportError as error:
            return _Failure(error=error, open_outcome=True, retry=True)
        except HttpStatusError as error:
            return _judged(provider, error)
        except (MissingKeyError, FileChangedError, OSError):
            attempt.settled = True  # the form, if it was begun, is left incomplete
            raise
        try:
            file_id = provider.sdk.file_id(answer)
        except NoFileIdError as error:
            attempt.settled = error.is_refusal
            return _Failure(
                error=error, open_outcome=False, retry=False, busy=provider.files.refuses_in_success(answer.body)
            )
        claim(provider.name, file_id)
        return file_id


def _report(place: Place, outcome: str | _Failure, *, shortest_delay: float) -> None:
    """Tell the throttle. A rate limit makes it pause: as long as the provider asks, else about as long as the SDK."""
    if isinstance(outcome, str):
        place.succeeded()
    elif outcome.busy:
        advice = _advice(outcome.headers)
        place.refused(min(advice or shortest_delay, LONGEST_HOLD_SECONDS), advised=advice is not None)


def _advice(headers: Mapping[str, str]) -> float | None:
    """The pause that a provider asks for, in seconds, if it names one. Some send `x-retry-after` as well."""
    for name in ("retry-after", "x-retry-after"):
        delay = advised_delay({**headers, "retry-after": headers.get(name, "")})
        if delay is not None and delay > 0:
            return delay
    return None


def _judged(provider: Provider, error: HttpStatusError) -> _Failure:
    """Both SDKs obey `x-should-retry`, else they send again after 408, 409, 429 and 5xx, whatever is in it."""
    wish = error.headers.get("x-should-retry")
    retry = error.status in _SENT_AGAIN or isinstance(error, ServerFailedError)
    if wish in {"true", "false"}:
        retry = wish == "true"
    elif provider.files.refuses_for_good(error.status, error.text):
        retry = False
    open_outcome = isinstance(error, ServerFailedError) or error.status == HTTPStatus.REQUEST_TIMEOUT
    busy = retry and error.status == HTTPStatus.TOO_MANY_REQUESTS
    return _Failure(error=error, retry=retry, open_outcome=open_outcome, busy=busy)


async def _look_for(
    provider: Provider,
    likeness: Likeness,
    journaled: JournaledUpload | None,
    *,
    began: float,
    clock: Clock,
    cause: Exception,
) -> str | None:
    """Look at the provider's listing, and again a little later."""

    async def look() -> str | None:
        return await find_upload(provider, likeness, seconds_ago=clock.now() - began, journaled=journaled)

    try:
        found = None
        with suppress(AmbiguousListingError):  # the other upload may be over in a moment
            found = await look()
        if found is None:
            await clock.sleep(_SECOND_LOOK_SECONDS)
            found = await look()
    except ListingUnavailableError as unknown:
        cause.add_note(f"Not sent again, because it may have arrived: {unknown}")
        raise cause from unknown
    return found


def _as_seen_from_outside(error: Exception, *, sent: bool) -> Exception:
    """After an attempt that sent something, one that sent nothing proves nothing."""
    if sent and isinstance(error, ConnectionNotMadeError):
        lost = ConnectionLostError("no connection for another attempt")
        lost.__cause__ = error.__cause__
        return lost
    return error
