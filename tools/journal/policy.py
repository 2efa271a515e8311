"""The rule by which an upload is journaled, without any input or output (sans-IO).

The plan is a generator: it yields what is to be done and is sent what came of it, or has thrown into it what went
wrong. A blocking and an asynchronous driver carry it out (`tools.journal.beginning`), so that both sides do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from shim.http.attempts import Attempts
from tools.journal.port import ClaimTimeoutError, Facts, Finished, Held, Intent, Journal, Opened, Opening, State

FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.25
"""How long a call waits between two looks at whether another upload of its content has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Wait a little for the journal. The outcome is the opening, or None when the journal cannot be used in time."""

    future: Future[Opening]
    unwanted: Callable[[Future[Opening]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Keep a copy; the outcome is the storage's id of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send the file to the provider; the outcome is the provider's id of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Write the row; the outcome is whether it is written."""

    supabase_file_id: str
    provider_file_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """The upload was broken off, and there may be a file: find out in the background what came of it.

    The outcome is whether somebody does so, and will close the intent.
    """

    error: BaseException
    supabase_file_id: str
    provider_file_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """What an upload leads to."""

    supabase_file_id: str
    provider_file_id: str


Step = Ask | Pause | Store | Send | Record | Settle
Plan = Generator[Step, Any, Uploaded]


@dataclass(frozen=True, slots=True, kw_only=True)
class Undertaking:
    """One call that wants a file uploaded.

    Attributes:
        journal: where it is written down.
        intent: what is written down.
        patience: seconds after which it no longer waits for another upload of the same content.
        began: when the call began, by `clock`.
        clock: seconds, by a clock that does not jump.
        attempts: filled by whoever sends.
    """

    journal: Journal
    intent: Intent
    patience: float
    began: float
    clock: Callable[[], float]
    attempts: Attempts = field(default_factory=Attempts)

    @property
    def under_way(self) -> float:
        """For how many seconds the call has been under way."""
        return self.clock() - self.began


def upload(undertaking: Undertaking | None) -> Plan:
    """Store, send, record; with a journal (None: without) so that a content is sent by one upload at a time.

    Raises:
        ClaimTimeoutError: another upload of this content did not end in time; nothing was sent.
    """
    opening = None if undertaking is None else (yield from _opened(undertaking))
    if isinstance(opening, Finished):
        return Uploaded(supabase_file_id=(yield Store()), provider_file_id=opening.provider_file_id)
    if undertaking is None or opening is None:
        return (yield from _plain())
    return (yield from _journaled(undertaking))


def _opened(undertaking: Undertaking) -> Generator[Step, Any, Opened | Finished | None]:
    """The claim on the content, or what another upload of it has led to; None if the journal cannot be used."""
    journal, intent, pause = undertaking.journal, undertaking.intent, FIRST_PAUSE_SECONDS

    def give_back(future: Future[Opening]) -> None:
        if not future.cancelled() and future.exception() is None and isinstance(future.result(), Opened):
            journal.close(intent.upload_id, State.FAILED, Facts(error="the journal was too slow"))

    while True:
        future = journal.open(intent, overlapping=undertaking.under_way)
        opening: Opening | None = yield Ask(future=future, unwanted=give_back)
        if opening is None:
            journal.count_unjournaled()
        if not isinstance(opening, Held):
            return opening
        left = undertaking.patience - undertaking.under_way
        if left <= 0:
            raise ClaimTimeoutError(undertaking.patience)
        yield Pause(seconds=min(pause, left))
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _plain() -> Plan:
    supabase_file_id: str = yield Store()
    provider_file_id: str = yield Send()
    yield Record(supabase_file_id=supabase_file_id, provider_file_id=provider_file_id)
    return Uploaded(supabase_file_id=supabase_file_id, provider_file_id=provider_file_id)


def _journaled(undertaking: Undertaking) -> Plan:
    journal, upload_id, attempts = undertaking.journal, undertaking.intent.upload_id, undertaking.attempts
    stored: str | None = None
    delivered: str | None = None
    try:
        supabase_file_id: str = yield Store()
        stored = supabase_file_id
        journal.note(upload_id, State.STORED, Facts(supabase_file_id=supabase_file_id))
        journal.note(upload_id, State.SENDING)
        provider_file_id: str = yield Send()
        delivered = provider_file_id
        journal.note(upload_id, State.DELIVERED, Facts(provider_file_id=provider_file_id, attempts=attempts.count))
        recorded: bool = yield Record(supabase_file_id=supabase_file_id, provider_file_id=provider_file_id)
    except BaseException as error:
        facts = Facts(attempts=attempts.count, error=_kind(error))
        if delivered is None and not attempts.leave_doubt(failed=True):
            journal.close(upload_id, State.FAILED, facts)
        elif not (yield from _settled(error, stored, delivered)):
            journal.close(upload_id, State.UNKNOWN, facts)
        raise
    problem = None if recorded else "the row could not be written"
    if attempts.leave_doubt(failed=False):
        problem = "an earlier attempt may have made a file as well"
    journal.close(upload_id, State.DONE if problem is None else State.UNKNOWN, Facts(error=problem))
    return Uploaded(supabase_file_id=supabase_file_id, provider_file_id=provider_file_id)


def _settled(
    error: BaseException, supabase_file_id: str | None, provider_file_id: str | None
) -> Generator[Step, Any, bool]:
    """Whether somebody finds out what came of the upload, and will close its intent."""
    if isinstance(error, GeneratorExit) or supabase_file_id is None:
        return False
    return bool((yield Settle(error=error, supabase_file_id=supabase_file_id, provider_file_id=provider_file_id)))


def _kind(error: BaseException) -> str:
    """What went wrong, by name: the text may quote what must not be written down."""
    return type(error.__cause__ or error).__name__
