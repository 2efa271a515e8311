"""Where an upload enters the journal, and which ones do not."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Protocol

from shim.http.confinement import is_shadow
from tools.journal.factory import get_journal
from tools.journal.intent import Intent, UploadSide
from tools.journal.policy import Undertaking
from tools.settings import Settings, get_settings
from tools.storage.port import ProviderName


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


def undertaking(
    provider: ProviderName, file: LocalFile, *, sha256: str, purpose: str, side: UploadSide, began: float
) -> Undertaking | None:
    """What this call is about to do, for the journal; None in a shadow, which must not touch it.

    Args:
        provider: to whom the file goes.
        file: what is sent.
        sha256: hash of its content.
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
        sha256=sha256,
        filename=file.name,
        size=file.size,
        path=str(file.path.absolute()),
        side=side,
        began_at=time.time() - (time.monotonic() - began),
    )
    return Undertaking(
        journal=get_journal(settings),
        intent=intent,
        patience=settings.upload_timeout,
        began=began,
        clock=time.monotonic,
    )


def account_of(provider: ProviderName, settings: Settings) -> str:
    """The address under which a provider is asked: uploads to another one are of another account."""
    return settings.kimi_api_url if provider == "kimi" else settings.glm_api_url
