"""Carries out what was decided about an unfinished upload. It may be cut off anywhere, and is begun anew then."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Any

from tools.errors import ToolsError
from tools.files import only_this_file, open_regular
from tools.journal.port import CLAIMING, Entry, Facts, Intent, Opened, State, UploadSide
from tools.providers.spec import FILE_TYPE, guessed_mime_type, provider
from tools.recovery.finding import ContentChangedError, Resolution, Step, Verdict
from tools.recovery.look import Look, Services, is_as_it_was
from tools.storage import UploadStorage
from tools.storage.placement import candidate_paths
from tools.storage.port import ProviderName


async def repeat(intent: Intent, storage: UploadStorage) -> dict[str, Any]:
    """Upload it, if it still is what was to be uploaded; the result is that of the public function.

    The implementations are imported when they are needed: one that cannot be imported fails these uploads alone.

    Raises:
        ContentChangedError: the file has another content by now; nothing was sent.
        ValueError, OSError, RuntimeError: as the public function does.
    """
    path = Path(intent.path)
    with FileIO(await asyncio.to_thread(open_regular, intent.path)) as file, only_this_file(path, file):
        if await asyncio.to_thread(_hash_of, file) != intent.sha256:
            raise ContentChangedError(path)
        if intent.side is UploadSide.LEGACY:
            return await asyncio.to_thread(_by_legacy, intent, storage)
        return await _by_async(intent, storage)


def _hash_of(file: FileIO) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _by_legacy(intent: Intent, storage: UploadStorage) -> dict[str, Any]:
    from tools.providers.blocking import upload_through  # noqa: PLC0415  # see `repeat`

    to = provider(intent.provider)
    return upload_through(to, to.client.send_file, intent.path, storage, intent.purpose)


async def _by_async(intent: Intent, storage: UploadStorage) -> dict[str, Any]:
    from tools.engine.gateway import upload_through_gateway  # noqa: PLC0415  # see `repeat`

    return await upload_through_gateway(provider(intent.provider), intent.path, storage, intent.purpose)


# Carries out what was decided about an unfinished upload. It may be cut off anywhere, and is begun anew then.


class _NamedFile:
    """What a gateway asks of a file."""

    def __init__(self, intent: Intent) -> None:
        self.name = intent.filename
        self.size = intent.size


async def settle(services: Services, look: Look, entry: Entry, verdict: Verdict) -> Resolution:
    """Do what the verdict says, and write down in the journal that it is done.

    What cannot be done is told in the resolution, and left to a later recovery.
    """
    settling = _Settling(services, look, entry, verdict)
    steps = {Step.ADOPT: settling.adopt, Step.REPEAT: settling.repeat, Step.CLEAN_UP: settling.clean_up}
    step = steps.get(verdict.step)
    if step is None:
        return resolution_of(entry, verdict)
    try:
        file_id = await step()
    except (ToolsError, OSError, RuntimeError, ValueError) as error:  # what uploads and services raise
        return replace(resolution_of(entry, settling.verdict), trouble=str(error))
    resolution = resolution_of(entry, settling.verdict)
    return replace(resolution, done=True, file_id=file_id, removed=tuple(settling.removed))


def resolution_of(entry: Entry, verdict: Verdict) -> Resolution:
    """What became of an upload about which nothing has been done."""
    intent = entry.intent
    return Resolution(
        upload_id=intent.upload_id,
        provider=intent.provider,
        side=intent.side,
        filename=intent.filename,
        began_at=intent.began_at,
        state=entry.state,
        step=verdict.step,
        reason=verdict.reason,
        file_id=verdict.keep,
        removed=verdict.remove,
    )


class _Settling:
    """One upload that is being settled.

    Attributes:
        verdict: what is done, which may turn out to be another thing than what was decided.
        removed: the provider's ids of the files that were removed.
    """

    def __init__(self, services: Services, look: Look, entry: Entry, verdict: Verdict) -> None:
        self.verdict = verdict
        self.removed: list[str] = []
        self._services = services
        self._look = look
        self._entry = entry
        self._intent = entry.intent
        self._gateway = provider(entry.intent.provider)

    async def adopt(self) -> str | None:
        """Make copy and row good, remove what is too many."""
        keep = self.verdict.keep
        assert keep is not None  # noqa: S101  # what adopting is
        object_id = await self._copy_made_good()
        if not await self._services.place.rows(self._intent.provider, [keep]):
            if object_id is None and not self._was_told(keep):
                await self._given_up(keep)
                return None
            await self._write_row(keep, object_id)
        await self._remove(*self.verdict.remove)
        self._close(State.DONE, Facts(provider_file_id=keep, supabase_file_id=object_id))
        return keep

    async def repeat(self) -> str | None:
        """Upload it through the same implementation, which opens an intent of its own: this one gives its claim up."""
        await self._remove(*self.verdict.remove)
        if self._entry.state in CLAIMING:
            self._services.journal.note(self._intent.upload_id, State.ABANDONED)
        result = await repeat(self._intent, self._services.storage)
        file_id = str(result[self._gateway.id_key])
        self._close(State.DONE, Facts(provider_file_id=file_id, supabase_file_id=str(result["supabase_file_id"])))
        return file_id

    async def clean_up(self) -> str | None:
        """Remove what is left of it; there is no file then."""
        await self._remove(*self.verdict.remove)
        await remove_copy(self._services, self._entry)
        self._close(State.FAILED, Facts(error=f"recovery: {self.verdict.reason}"))
        return None

    async def _given_up(self, file_id: str) -> None:
        """A file without a copy is no upload, and nobody was given it."""
        self.verdict = Verdict(
            step=Step.CLEAN_UP,
            reason="its file is there without a copy, and the file to be uploaded is gone or has changed",
            remove=(file_id, *self.verdict.remove),
        )
        await self.clean_up()

    def _was_told(self, file_id: str) -> bool:
        """Whether a caller was given this file."""
        return self._entry.state is State.UNKNOWN and self._entry.facts.provider_file_id == file_id

    async def _remove(self, *file_ids: str) -> None:
        for file_id in file_ids:
            await self._services.accounts[self._intent.provider].remove(file_id)
            self._look.gone.add(file_id)
            self.removed.append(file_id)

    async def _copy_made_good(self) -> str | None:
        """The id of the copy; where there is none it is stored, if the file to be uploaded is as it was."""
        found = await find_copy(self._services, self._intent)
        if found is not None:
            return str(found["id"])
        if not await asyncio.to_thread(is_as_it_was, self._intent):
            return None
        return await asyncio.to_thread(
            self._services.storage.upload_file,
            self._gateway.storage_path(_NamedFile(self._intent)),
            await asyncio.to_thread(Path(self._intent.path).read_bytes),
            self._intent.filename,
            guessed_mime_type(self._intent.filename),
            FILE_TYPE,
        )

    async def _write_row(self, file_id: str, object_id: str | None) -> None:
        ids = {"provider_file_id": file_id, "supabase_file_id": object_id or ""}
        row = self._gateway.row(_NamedFile(self._intent), **ids, sha256=self._intent.sha256)
        await self._services.storage.record_upload_async(replace(row, supabase_file_id=object_id))

    def _close(self, state: State, facts: Facts) -> None:
        self._services.journal.close(self._intent.upload_id, state, facts)


async def find_copy(services: Services, intent: Intent) -> Mapping[str, Any] | None:
    """The stored object that holds the content, with its `path`; None if there is none."""
    path = provider(intent.provider).storage_path(_NamedFile(intent))
    for each in candidate_paths(path, intent.sha256):
        described = await services.place.look(each)
        if described is not None and described.get("sha256") == intent.sha256:
            return {**described, "path": each}
    return None


async def remove_copy(services: Services, entry: Entry) -> None:
    """Remove the copy of an upload that has come to nothing, unless somebody else needs it."""
    copy = await find_copy(services, entry.intent)
    if copy is None:
        return
    holds_claim = entry.state in CLAIMING
    lock = None if holds_claim else await claimed(services, entry.intent)
    if not holds_claim and lock is None:
        return  # an upload of this content is under way: the copy is its
    try:
        if not await _is_needed(services, entry.intent, lock, str(copy["id"])):
            await services.place.remove([str(copy["path"])])
    finally:
        if lock is not None:
            services.journal.close(lock, State.FAILED, Facts(error="a claim while the copy was removed"))


async def claimed(services: Services, intent: Intent) -> str | None:
    """Claim a content, so that nobody stores it meanwhile; the claim's id, or None if somebody else has it."""
    upload_id = uuid.uuid4().hex
    # without a path: if this process is killed now, recovery has nothing to upload, and removes the copy
    claim = replace(intent, upload_id=upload_id, began_at=time.time(), path="")
    opening = await asyncio.wrap_future(services.journal.open(claim, overlapping=0.0))
    return upload_id if isinstance(opening, Opened) else None


async def _is_needed(services: Services, intent: Intent, lock: str | None, object_id: str) -> bool:
    """Whether a row or another unfinished upload, for whatever purpose, is about this copy or its content."""
    if await services.place.rows_about(object_id):
        return True
    if await services.storage.find_upload_async(sha256=intent.sha256, provider=intent.provider) is not None:
        return True
    own = {intent.upload_id, lock}
    return any(
        other.intent.sha256 == intent.sha256 and _provider(other) == intent.provider
        for other in await asyncio.to_thread(services.journal.unfinished)
        if other.intent.upload_id not in own
    )


def _provider(entry: Entry) -> ProviderName:
    return entry.intent.provider
