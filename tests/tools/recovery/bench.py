"""What the tests of reconciliation share: uploads whose process is dead, and the account of what is there."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.tools.protected import protected
from tools.async_file_upload_refactored import (
    cleanup_http_session,
    upload_via_supabase_gateway_glm_async,
    upload_via_supabase_gateway_kimi_async,
)
from tools.journal import get_journal
from tools.journal.port import CLAIMING, FINISHED, Entry, Facts, Intent, Journal, Opened, State, UploadSide
from tools.journal.sqlite import SqliteJournal
from tools.journal.supabase import SupabaseJournal
from tools.journal.supabase_requests import LEASE_SECONDS
from tools.journal.upload import account_of
from tools.recovery import Resolution, recover
from tools.sandbox import RunningSandbox
from tools.settings import Settings
from tools.storage import UploadStorage, get_storage
from tools.storage.port import TABLE, ProviderName

PURPOSES: dict[ProviderName, str] = {"kimi": "file-extract", "glm": "agent"}
NO_PROCESS = "0"
"""An owner that does not live: no process holds a lock at this place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What is there, by content: ids of files at the providers, ids of stored copies, and rows."""

    files: dict[str, list[str]]
    copies: dict[str, list[str]]
    rows: list[dict[str, Any]]

    def is_whole(self, sha256: str) -> bool:
        """Whether this content is there once: one file, one copy, one completed row about both."""
        rows = [row for row in self.rows if row["sha256"] == sha256]
        named = [(row["provider_file_id"], row["upload_status"]) for row in rows]
        copies = self.copies.get(sha256, [])
        return (
            named == [(file_id, "completed") for file_id in self.files.get(sha256, [])]
            and len(named) == 1
            and len(copies) == 1
            and copies[0] == rows[0]["supabase_file_id"]
        )

    def is_absent(self, sha256: str) -> bool:
        """Whether nothing of this content is there."""
        return not (self.files.get(sha256) or self.copies.get(sha256) or any(r["sha256"] == sha256 for r in self.rows))

    @property
    def doubled(self) -> list[str]:
        """Contents of which a provider has more than one file."""
        return [sha256 for sha256, files in self.files.items() if len(files) > 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One provider, one implementation, one storage."""

    provider: ProviderName
    side: UploadSide
    settings: Settings
    sandbox: RunningSandbox
    folder: Path

    @property
    def journal(self) -> Journal:
        return get_journal(self.settings)

    @property
    def storage(self) -> UploadStorage:
        return get_storage()

    def document(self, content: bytes | None = None, name: str | None = None) -> Path:
        content = os.urandom(1000) if content is None else content
        path = self.folder / (name or f"{uuid.uuid4().hex}.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def intent(self, path: Path, **changes: Any) -> Intent:
        content = path.read_bytes()
        given = {
            "upload_id": str(uuid.uuid4()),
            "provider": self.provider,
            "account": account_of(self.provider, self.settings),
            "purpose": PURPOSES[self.provider],
            "sha256": hashlib.sha256(content).hexdigest(),
            "filename": path.name,
            "size": len(content),
            "path": str(path),
            "side": self.side,
            "began_at": time.time(),
        }
        return Intent(**{**given, **changes})

    def left(self, path: Path, state: State, *, facts: Facts | None = None, **changes: Any) -> Intent:
        """Write down an upload that came so far, and whose process is dead."""
        intent = self.intent(path, **changes)
        dying = self._dying_process if self.settings.supabase_url is None else self._dying_machine
        with dying(intent.upload_id) as journal:
            opening = journal.open(intent, overlapping=0.0).result(10)
            assert isinstance(opening, Opened), opening
            change = journal.note if state in CLAIMING or state is State.ABANDONED else journal.close
            change(intent.upload_id, state, facts or Facts())
            assert journal.flush(10)
        return intent

    @contextmanager
    def _dying_process(self, upload_id: str) -> Iterator[Journal]:
        """The journal on this machine; afterwards the upload's owner holds no lock."""
        yield self.journal
        with closing(sqlite3.connect(self.settings.uploads_db)) as database, database:
            database.execute(
                "UPDATE upload_intents SET owner = ? WHERE upload_id = ? AND owner IS NOT NULL", (NO_PROCESS, upload_id)
            )

    @contextmanager
    def _dying_machine(self, upload_id: str) -> Iterator[Journal]:
        """The shared journal as another machine has it; afterwards the upload's lease has run out."""
        url, key = self.settings.supabase_url, self.settings.supabase_service_role_key
        assert url is not None
        assert key is not None
        local = SqliteJournal(self.folder / "elsewhere" / upload_id / "journal.db")
        journal = SupabaseJournal(url=url, key=key.get_secret_value(), local=local)
        self.sandbox.set_limits(intent_lease_seconds=0)
        try:
            yield journal
            assert local.unfinished() == []
        finally:
            journal.stop()
            self.sandbox.set_limits(intent_lease_seconds=int(LEASE_SECONDS))

    def send(self, path: Path) -> str:
        """Let the provider have a file, without a copy and a row; the provider's id of it."""
        answer = httpx.post(
            f"{account_of(self.provider, self.settings)}/files",
            headers={"Authorization": "Bearer planted"},
            data={"purpose": PURPOSES[self.provider]},
            files={"file": (path.name, path.read_bytes())},
        )
        return str(answer.json()["id"])

    def store(self, path: Path) -> str:
        """Keep a copy; its id."""
        key = f"{self.provider}-gateway/{path.name}"
        return self.storage.upload_file(key, path.read_bytes(), path.name, "text/plain", "user_upload")

    def upload(self, path: Path) -> dict[str, Any]:
        """Upload by the implementation of this bench, to its end."""
        if self.side is UploadSide.LEGACY:
            return protected(self.provider)(path, self.storage)
        new = {"kimi": upload_via_supabase_gateway_kimi_async, "glm": upload_via_supabase_gateway_glm_async}
        return asyncio.run(with_pool(new[self.provider](path, self.storage)))

    def recover(self, **options: Any) -> list[Resolution]:
        return asyncio.run(with_pool(recover(self.settings, sleep=briefly, **options)))

    def unfinished(self) -> list[Entry]:
        assert self.journal.flush(10)
        return list(self.journal.unfinished())

    def entry(self, upload_id: str) -> State:
        """The state of an upload, finished or not."""
        assert self.journal.flush(10)
        if self.settings.supabase_url is not None:
            shared = self.sandbox.state()["supabase"]["upload_intents"]
            return State(next(row["state"] for row in shared if row["upload_id"] == upload_id))
        with closing(sqlite3.connect(self.settings.uploads_db)) as database:
            [(state,)] = database.execute("SELECT state FROM upload_intents WHERE upload_id = ?", (upload_id,))
        return State(state)

    def account(self) -> Account:
        state = self.sandbox.state()
        files: dict[str, list[str]] = {}
        for file in state[self.provider]["files"]:
            files.setdefault(file["sha256"], []).append(file["id"])
        if self.settings.supabase_url is not None:
            copies: dict[str, list[str]] = {}
            for stored in state["supabase"]["objects"]:
                copies.setdefault(stored["sha256"], []).append(self._object_id(stored["bucket"], stored["name"]))
            return Account(files=files, copies=copies, rows=state["supabase"][TABLE])
        return Account(files=files, copies=self._copies(), rows=self._rows())

    def _object_id(self, bucket: str, name: str) -> str:
        url = f"{self.settings.supabase_url}/storage/v1/object/info/{bucket}/{name}"
        return str(httpx.get(url, headers={"Authorization": "Bearer planted"}).json()["id"])

    def _copies(self) -> dict[str, list[str]]:
        from tools.storage.local import _object_id  # noqa: PLC0415  # the folder alone says no ids

        objects = self.settings.shim_home / "storage" / "objects"
        copies: dict[str, list[str]] = {}
        for path in objects.rglob("*"):
            if path.is_file():
                sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
                copies.setdefault(sha256, []).append(_object_id(str(path.relative_to(objects))))
        return copies

    def _rows(self) -> list[dict[str, Any]]:
        database_file = self.settings.shim_home / "uploads.db"
        if not database_file.exists():
            return []
        with closing(sqlite3.connect(database_file)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(f"SELECT * FROM {TABLE}")]  # noqa: S608  # a constant


async def with_pool(work: Any) -> Any:
    """As the command line does it: the loop's connection pool is closed at the end."""
    try:
        return await work
    finally:
        await cleanup_http_session()


async def briefly(seconds: float) -> None:
    """Waits as the program does, but shorter."""
    await asyncio.sleep(min(seconds, 0.05))


def is_finished(state: State) -> bool:
    """Whether nothing is left to do about an upload in this state."""
    return state in FINISHED


def steps(found: list[Resolution]) -> Counter[str]:
    """How many uploads each step was taken for."""
    return Counter(str(each.step) for each in found)
