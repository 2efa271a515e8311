"""What the tests of rehearsals share: a migrated upload whose every call is compared."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migration import Comparison, Migration, Runtime, Side
from migration.routing import Shim
from migration.testing import FixedRouter, RecordingObserver
from tools.async_file_upload_refactored import cleanup_http_session
from tools.migrations import MIGRATIONS
from tools.providers.kimi.kimi_files import upload_via_supabase_gateway_kimi
from tools.sandbox import RunningSandbox
from tools.storage.port import UploadStorage

DECLARED = MIGRATIONS["tools.providers.kimi.kimi_files:upload_via_supabase_gateway_kimi"]
SECONDS = 60.0


class Bench:
    """The migrated Kimi upload, with every call compared."""

    def __init__(self, migration: Migration = DECLARED, *extra: Any) -> None:
        self.router = FixedRouter(shadow=True)
        self.observer = RecordingObserver()
        self.runtime = Runtime(router=self.router, observers=[self.observer, *extra])
        self.upload = Shim(migration, upload_via_supabase_gateway_kimi, self.runtime)
        for loop in (self.runtime.loop, self.runtime.shadows.loop):
            loop.on_close(cleanup_http_session)

    def compare(self, *args: Any, serve: Side = Side.LEGACY) -> Comparison:
        """Upload once and wait for the verdict."""
        self.router.serve = serve
        before = len(self.observer.comparisons)
        with contextlib.suppress(ValueError, OSError, RuntimeError):  # a failed upload is compared as well
            self.upload(*args)
        assert self.runtime.shadows.drain(SECONDS)
        [comparison] = self.observer.comparisons[before:]
        return comparison


@dataclass
class World:
    """Where an upload goes, and where its files are."""

    storage: UploadStorage
    sandbox: RunningSandbox
    folder: Path


def document(folder: Path, data: bytes = b"some text\n" * 5000, name: str = "document.txt") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path
