"""Intents, and what a journal answers to them."""

from __future__ import annotations

import hashlib
import time
import uuid
from typing import Any

from tools.journal.port import Intent, Journal, Opening, UploadSide

SECONDS = 5.0


def intent(content: bytes = b"content", **changes: Any) -> Intent:
    """An upload of this content."""
    given: dict[str, Any] = {
        "upload_id": uuid.uuid4().hex,
        "provider": "kimi",
        "account": "https://kimi.example/v1",
        "purpose": "file-extract",
        "sha256": hashlib.sha256(content).hexdigest(),
        "filename": "report.txt",
        "size": len(content),
        "path": "/documents/report.txt",
        "side": UploadSide.LEGACY,
        "began_at": time.time(),
    }
    return Intent(**given | changes)


def opened(journal: Journal, wanted: Intent, *, overlapping: float = 0.0) -> Opening:
    """What the journal answers."""
    return journal.open(wanted, overlapping=overlapping).result(SECONDS)
