"""What the upload paths and recovery ask of a journal.

The journal is the claim as well: while an intent of a content is in flight (`CLAIMING`), no second one of the same
provider, account, purpose and content can be opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tools.errors import ToolsError
from tools.storage.port import ProviderName


class JournalError(ToolsError):
    """The journal cannot be used."""

    def __init__(self, where: str, problem: str) -> None:
        self.where = where
        self.problem = problem
        super().__init__(f"the journal of uploads ({where}) cannot be used: {problem}")


class ClaimTimeoutError(ToolsError):
    """Another upload of the same content did not end in time; nothing was sent to the provider."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"another upload of the same content did not end within {seconds:g} s, so it was not sent")


# What the journal knows of an upload: what was intended, how far it came, and what came of it.


class UploadSide(StrEnum):
    """Which implementation carries an upload out."""

    LEGACY = "legacy"
    ASYNC = "async"


class State(StrEnum):
    """How far an upload has come, at least: what follows `INTENDED` is written without a wait.

    A process that was killed may have sent a file whose entry says `INTENDED`.
    """

    INTENDED = "intended"  # written before anything leaves this machine
    STORED = "stored"  # the storage has its copy
    SENDING = "sending"  # the file is being sent to the provider
    DELIVERED = "delivered"  # the provider has answered with an id; the row is not written yet
    DONE = "done"
    FAILED = "failed"  # nothing was made at the provider, or it is removed
    UNKNOWN = "unknown"  # its call has ended and was answered; whether there is a file, or a second one, is not known
    ABANDONED = "abandoned"  # its process died without an answer; another upload has taken its claim over


CLAIMING = (State.INTENDED, State.STORED, State.SENDING, State.DELIVERED)
"""In flight. At most one intent of a content is in one of these states: that is the claim on the content."""

UNRESOLVED = (State.UNKNOWN, State.ABANDONED)
"""Ended without a known outcome. It holds no claim, and recovery resolves it."""

FINISHED = (State.DONE, State.FAILED)
"""Nothing is left to do; such an intent is forgotten after a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """An upload that is about to begin.

    Attributes:
        upload_id: unique, of this upload alone.
        provider: to whom the file goes.
        account: the provider's address. Uploads to a sandbox have nothing to do with those to the real service.
        purpose: what the provider is to use the file for.
        sha256: hash of the content, in hexadecimal.
        filename: the file's name without its folder, as the provider is told it.
        size: bytes.
        path: where the file was read.
        side: which implementation carries it out.
        began_at: when the call began, in seconds since the epoch.
    """

    upload_id: str
    provider: ProviderName
    account: str
    purpose: str
    sha256: str
    filename: str
    size: int
    path: str
    side: UploadSide
    began_at: float

    @property
    def content(self) -> tuple[str, str, str, str]:
        """What is claimed by it."""
        return self.provider, self.account, self.purpose, self.sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a step has brought to light; what is None stays as it was noted before.

    Attributes:
        supabase_file_id: the storage's id of the copy.
        provider_file_id: the provider's id of the file; with several, the one that the caller was given.
        attempts: how often the file was sent to the provider.
        error: what went wrong, without any contents or keys.
    """

    supabase_file_id: str | None = None
    provider_file_id: str | None = None
    attempts: int | None = None
    error: str | None = None


NOTHING_NEW = Facts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An intent as the journal has it.

    Attributes:
        intent: what was intended.
        state: how far it came.
        facts: what is known of it.
        owner: who works on it; None without an owner.
        lease_until: until when that counts without being renewed, in seconds since the epoch; None: while it lives.
        updated_at: when it was last changed, likewise.
        finished_at: when its call ended, likewise; None while it is in flight.
    """

    intent: Intent
    state: State
    facts: Facts
    owner: str | None
    lease_until: float | None
    updated_at: float
    finished_at: float | None


# What the upload paths and recovery ask of a journal.


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The intent is durable, and the content is claimed by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Another upload of this content is in flight.

    Attributes:
        upload_id: of that upload.
        owner: who works on it.
    """

    upload_id: str
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Another upload of this content ended with a file while this call was in flight: its file serves this one, too.

    Attributes:
        upload_id: of that upload.
        provider_file_id: the file.
    """

    upload_id: str
    provider_file_id: str


Opening = Opened | Held | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStatus:
    """The journal in figures.

    Attributes:
        backend: where it is kept, for people; without credentials.
        in_flight: uploads in flight.
        left: uploads whose process died, which recovery resolves.
        unknown: uploads that ended without a known outcome.
        unjournaled: uploads that went on without the journal, because it could not be written.
        last_unjournaled_at: when that was last so, in seconds since the epoch; None: never.
        notice: something that an operator should know about this journal, such as why another backend is used.
    """

    backend: str
    in_flight: int
    left: int
    unknown: int
    unjournaled: int
    last_unjournaled_at: float | None = None
    notice: str | None = None


class Journal(Protocol):
    """Where uploads are written down. From any thread; a process that was forked begins again.

    What is asked of one instance happens in the order in which it was asked, `note` and `close` of an upload behind
    its `open`. Only `open` gives an answer that an upload waits for.
    """

    @property
    def owner(self) -> str:
        """Who this process is. Unique among all processes that share the journal; another one after a fork."""
        ...

    def open(self, intent: Intent, *, overlapping: float) -> Future[Opening]:
        """Write an intent down and claim its content, in one atomic step; never blocks.

        - `Finished`, if an intent of the same content got a `provider_file_id` and ended (`DONE`, `UNKNOWN`) within
          the last `overlapping` seconds, by the journal's own clock;
        - `Held`, if one is in flight and its owner lives;
        - else `Opened`: it is durable, in the state `INTENDED`. One that was in flight and whose owner is dead, or
          whose lease has run out, has become `ABANDONED` by the same step.

        A future that was cancelled before the journal came to it changes nothing.

        Args:
            intent: what is about to begin.
            overlapping: for how many seconds this call has been in flight, by a clock that does not jump.

        The future fails with `JournalError` when the journal cannot be written.
        """
        ...

    def note(self, upload_id: str, state: State, facts: Facts = NOTHING_NEW) -> None:
        """Write down how far an upload of this process has come; never blocks and never raises."""
        ...

    def close(self, upload_id: str, state: State, facts: Facts = NOTHING_NEW) -> None:
        """Write down that an upload has ended (`DONE`, `FAILED`, `UNKNOWN`), and give its claim up; as `note`."""
        ...

    def count_unjournaled(self) -> None:
        """Count an upload that goes on without the journal; never blocks and never raises."""
        ...

    def flush(self, timeout: float) -> bool:
        """Wait until everything asked for so far is written or has failed, at most `timeout` seconds; was it?"""
        ...

    def unfinished(self) -> Sequence[Entry]:
        """All that is in flight or unresolved, oldest first. Blocks.

        Raises:
            JournalError: the journal cannot be read.
        """
        ...

    def namesakes(self, intent: Intent) -> Sequence[Entry]:
        """Other uploads that this journal still has whose files a provider's listing cannot tell from this one's.

        They went to the same provider and account, with the same purpose, name and size; the content may be another.
        Those that made no file (`FAILED`) are left out. Blocks.

        Raises:
            JournalError: the journal cannot be read.
        """
        ...

    def take_over(self, upload_id: str) -> Entry | None:
        """Become the owner of an unfinished intent without a living owner, in one atomic step. Blocks.

        Its state stays what it was; `note` and `close` then write what recovery finds out.

        Returns:
            The entry as it is; None if a living owner works on it, or nothing is left to do.

        Raises:
            JournalError: the journal cannot be written.
        """
        ...

    def release(self, upload_id: str) -> None:
        """Give an intent that was taken over back unresolved, without an owner. Its state stays. Never blocks."""
        ...

    def status(self) -> JournalStatus:
        """The figures. Blocks.

        Raises:
            JournalError: the journal cannot be read.
        """
        ...

    def stop(self) -> None:
        """Stop threads and close connections; the next use begins again. Blocks."""
        ...
