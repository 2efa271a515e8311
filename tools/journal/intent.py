"""What the journal knows of an upload: what was intended, how far it came, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tools.storage.port import ProviderName


class UploadSide(StrEnum):
    """Which implementation carries an upload out."""

    LEGACY = "legacy"
    ASYNC = "async"


class State(StrEnum):
    """How far an upload has come, at least: nobody waits for what follows `INTENDED` to be written.

    A process that was killed may have sent a file whose entry says `INTENDED`.
    """

    INTENDED = "intended"  # written before anything leaves this machine
    STORED = "stored"  # the storage has its copy
    SENDING = "sending"  # the file is being sent to the provider
    DELIVERED = "delivered"  # the provider has answered with an id; the row is not written yet
    DONE = "done"
    FAILED = "failed"  # nothing was made at the provider, or it is removed
    UNKNOWN = "unknown"  # its call has ended and was answered; whether there is a file, or a second one, is not known
    ABANDONED = "abandoned"  # its process died, and nobody was answered; another upload has taken its claim over


CLAIMING = (State.INTENDED, State.STORED, State.SENDING, State.DELIVERED)
"""Under way. At most one intent of a content is in one of these states: that is the claim on the content."""

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
        owner: who works on it; None when nobody does.
        lease_until: until when that counts without being renewed, in seconds since the epoch; None: while it lives.
        updated_at: when it was last changed, likewise.
        finished_at: when its call ended, likewise; None while it is under way.
    """

    intent: Intent
    state: State
    facts: Facts
    owner: str | None
    lease_until: float | None
    updated_at: float
    finished_at: float | None
