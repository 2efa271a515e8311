"""One upload as the journal follows it: the claim on its content, how far it comes, and what came of it.

The claim is a generator without any input or output (sans-IO), which `claimed` drives on a thread and `claimed_async`
on an event loop.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from shim.http.attempts import Attempts
from shim.http.egress import is_shadow
from shim.http.recording import note_shared
from tools.journal.factory import get_journal
from tools.journal.port import (
    NOTHING_NEW,
    ClaimTimeoutError,
    Entry,
    Facts,
    Finished,
    Held,
    Intent,
    Journal,
    JournalError,
    Opened,
    Opening,
    State,
    UploadSide,
)
from tools.providers import spec
from tools.settings import Settings, get_settings
from tools.storage.port import ProviderName
from tools.transport.loops import drive, drive_async

OPEN_SECONDS = 5.0
"""How long an upload waits for the journal; then it goes on without it. A file gives up much sooner by itself, a
database over the network a little sooner (`supabase_remote.OPEN_SECONDS`)."""

FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.25
"""How long a call waits between two looks at whether another upload of its content has ended."""


class LocalFile(Protocol):
    """A file, as far as the journal speaks of it."""

    @property
    def path(self) -> Path:
        """Where it was read."""
        ...

    @property
    def name(self) -> str:
        """Its name without the folder."""
        ...

    @property
    def size(self) -> int:
        """Its length in bytes."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of its content, in hexadecimal."""
        ...


@dataclass(slots=True, kw_only=True)
class JournaledUpload:
    """One call that wants a file uploaded, as it is written down.

    Each note is written behind the caller's back; only the claim is waited for.

    Attributes:
        journal: where it is written down.
        intent: what is written down.
        timeout: seconds after which it no longer waits for another upload of the same content.
        began: when the call began, by `clock`.
        clock: seconds, by a clock that does not jump.
        attempts: how often the file was sent, and what came of that.
        supabase_file_id: the storage's id of the copy, once there is one.
        provider_file_id: the provider's id of the file, once it is known.
    """

    journal: Journal
    intent: Intent
    timeout: float
    began: float
    clock: Callable[[], float] = time.monotonic
    attempts: Attempts = field(default_factory=Attempts)
    supabase_file_id: str | None = None
    provider_file_id: str | None = None

    @property
    def seconds(self) -> float:
        """How long the call has lasted."""
        return self.clock() - self.began

    @property
    def is_in_doubt(self) -> bool:
        """Whether a failure now leaves open what the provider has."""
        return self.provider_file_id is not None or self.attempts.leave_doubt(failed=True)

    def others(self) -> Sequence[Entry]:
        """Other uploads whose files a listing cannot tell from this one's. Blocks.

        Raises:
            JournalError: the journal cannot be read.
        """
        return self.journal.namesakes(self.intent)

    def stored(self, supabase_file_id: str) -> None:
        """The storage has its copy; the file is sent next."""
        self.supabase_file_id = supabase_file_id
        self._note(State.STORED, Facts(supabase_file_id=supabase_file_id))
        self._note(State.SENDING)

    def delivered(self, provider_file_id: str) -> None:
        """The provider has the file under this id; the row is written next."""
        self.provider_file_id = provider_file_id
        self._note(State.DELIVERED, Facts(provider_file_id=provider_file_id, attempts=self.attempts.count))

    def done(self, *, recorded: bool) -> None:
        """The caller is answered with the file's id."""
        problem = None if recorded else "the row could not be written"
        if self.attempts.leave_doubt(failed=False):
            problem = "an earlier attempt may have made a file as well"
        self._close(State.DONE if problem is None else State.UNKNOWN, Facts(error=problem))

    def failed(self, error: BaseException) -> None:
        """The call ends without an answer; whether a file was made decides what is left to recovery."""
        facts = Facts(attempts=self.attempts.count, provider_file_id=self.provider_file_id, error=_kind(error))
        self._close(State.UNKNOWN if self.is_in_doubt else State.FAILED, facts)

    def settled(self, provider_file_id: str | None, *, recorded: bool) -> None:
        """What came of a call that was broken off has been found out, or not."""
        facts = Facts(attempts=self.attempts.count, provider_file_id=provider_file_id)
        if provider_file_id is None:
            facts = Facts(attempts=self.attempts.count, error="CancelledError")
        self._close(State.DONE if recorded else State.UNKNOWN, facts)

    def _note(self, state: State, facts: Facts = NOTHING_NEW) -> None:
        self.journal.note(self.intent.upload_id, state, facts)

    def _close(self, state: State, facts: Facts) -> None:
        self.journal.close(self.intent.upload_id, state, facts)


def journaled_upload(
    provider: ProviderName, file: LocalFile, *, purpose: str, side: UploadSide, began: float
) -> JournaledUpload | None:
    """What this call is about to do, for the journal; None in a shadow, which must not touch it.

    Args:
        provider: to whom the file goes.
        file: what is sent.
        purpose: what the provider is to use it for.
        side: which implementation carries it out.
        began: when the call began, by `time.monotonic`.
    """
    if is_shadow():
        return None
    settings = get_settings()
    intent = Intent(
        upload_id=str(uuid.uuid4()),
        provider=provider,
        account=account_of(provider, settings),
        purpose=purpose,
        sha256=file.sha256,
        filename=file.name,
        size=file.size,
        path=str(file.path.absolute()),
        side=side,
        began_at=time.time() - (time.monotonic() - began),
    )
    return JournaledUpload(journal=get_journal(settings), intent=intent, timeout=settings.upload_timeout, began=began)


def account_of(provider: ProviderName, settings: Settings) -> str:
    """The address under which a provider is asked: uploads to another one are of another account."""
    return spec.provider(provider).address(settings)


# The claim on a content.


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Wait a little for the journal. The outcome is the opening, or None when the journal cannot be used in time."""

    future: Future[Opening]
    unwanted: Callable[[Future[Opening]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Wait."""

    seconds: float


Claim = Generator[Ask | Pause, Any, Opened | Finished | None]


def claim(upload: JournaledUpload) -> Claim:
    """Claim the content, so that one upload at a time sends it.

    Returns:
        The claim, or what another upload of the content has led to; None: the journal cannot be used.

    Raises:
        ClaimTimeoutError: another upload of this content did not end in time.
    """
    journal, pause = upload.journal, FIRST_PAUSE_SECONDS

    def give_back(future: Future[Opening]) -> None:
        if not future.cancelled() and future.exception() is None and isinstance(future.result(), Opened):
            journal.close(upload.intent.upload_id, State.FAILED, Facts(error="the journal was too slow"))

    while True:
        future = journal.open(upload.intent, overlapping=upload.seconds)
        opening: Opening | None = yield Ask(future=future, unwanted=give_back)
        if opening is None:
            journal.count_unjournaled()
        if not isinstance(opening, Held):
            return opening
        left = upload.timeout - upload.seconds
        if left <= 0:
            raise ClaimTimeoutError(upload.timeout)
        yield Pause(seconds=min(pause, left))
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def claimed(upload: JournaledUpload) -> Opened | Finished | None:
    """Claim the content on this thread; see `claim`."""

    def perform(step: Ask | Pause) -> Opening | None:
        if isinstance(step, Ask):
            return _opening(step)
        time.sleep(step.seconds)
        return None

    return _noted(drive(claim(upload), perform))


async def claimed_async(upload: JournaledUpload) -> Opened | Finished | None:
    """Claim the content without blocking the event loop; see `claim`."""

    async def perform(step: Ask | Pause) -> Opening | None:
        if isinstance(step, Ask):
            return await _opening_async(step)
        await asyncio.sleep(step.seconds)
        return None

    return _noted(await drive_async(claim(upload), perform))


def _noted(opening: Opened | Finished | None) -> Opened | Finished | None:
    """Note a call that shares another upload's file: it sends nothing itself, so there is nothing to compare."""
    if isinstance(opening, Finished):
        note_shared()
    return opening


def _opening(ask: Ask) -> Opening | None:
    with _given_up_on_failure(ask):
        return ask.future.result(OPEN_SECONDS)
    return None


async def _opening_async(ask: Ask) -> Opening | None:
    with _given_up_on_failure(ask):
        async with asyncio.timeout(OPEN_SECONDS):
            return await asyncio.wrap_future(ask.future)
    return None


@contextmanager
def _given_up_on_failure(ask: Ask) -> Iterator[None]:
    """Give the opening up where it fails; that the journal fails is no error."""
    try:
        yield
    except (JournalError, TimeoutError):
        _give_up(ask)
    except BaseException:
        _give_up(ask)
        raise


def _give_up(ask: Ask) -> None:
    """The journal's answer is not waited for any more: if it comes all the same, it is given back."""
    if not ask.future.cancel():
        ask.future.add_done_callback(ask.unwanted)


def _kind(error: BaseException) -> str:
    """What went wrong, by name: the text may quote what must not be written down."""
    return type(error.__cause__ or error).__name__
