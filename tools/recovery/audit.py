"""Looks at everything that the new implementation has made, and repairs what can be repaired. Deletes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from migration.guard import CandidateResult
from migration.model import Operation
from tools.providers.spec import Provider, provider
from tools.recovery.audit_evidence import Finding, Remedy, Seen, State, Upload, judge
from tools.recovery.places import Place, can_be_read_back, place_of
from tools.recovery.provider_files import provider_files
from tools.recovery.rest_client import Asker, NoListingError, ServiceFailedError, asker
from tools.settings import Settings
from tools.storage.placement import candidate_paths
from tools.storage.port import ProviderName, UploadStorage


def things_made(operation: Operation) -> Sequence[Mapping[str, str]]:
    """The files that a successful upload has made: `provider`, `file_id`, and `object_id` where the result names it.

    No names of files: those stand in the tracking table, and there only.
    """
    provider = str(operation.call.attributes.get("upload.provider", ""))
    result = None if operation.outcome is None else operation.outcome.value
    entries = result if isinstance(result, list) else [result]
    return [_thing(provider, entry) for entry in entries if isinstance(entry, dict) and not entry.get("deduplicated")]


def _thing(provider: str, entry: Mapping[str, Any]) -> Mapping[str, str]:
    thing = {"provider": provider, "file_id": str(entry.get(f"{provider}_file_id") or entry.get("file_id"))}
    object_id = entry.get("supabase_file_id")
    return thing if object_id is None else {**thing, "object_id": str(object_id)}


# Looks at everything that the new implementation has made, and repairs what can be repaired. Deletes nothing.

AT_ONCE = 8
"""Uploads that are looked at side by side."""

ROWS_AT_ONCE = 50
"""Rows that are asked for in one question."""


def uploads_of(made: Sequence[CandidateResult]) -> list[Upload]:
    """The uploads that succeeded, each once, oldest first."""
    found: dict[tuple[str, str], Upload] = {}
    for each in made:
        for thing in each.things:
            name = provider(thing["provider"]).name
            upload = Upload(
                provider=name,
                file_id=thing["file_id"],
                object_id=thing.get("object_id"),
                at=each.at,
                trace=each.trace,
            )
            found.setdefault((name, upload.file_id), upload)
    return list(found.values())


async def audit(
    uploads: Sequence[Upload],
    settings: Settings,
    storage: UploadStorage,
    *,
    contents: bool = False,
    on_done: Callable[[], object] = lambda: None,
) -> list[Finding]:
    """Look at each upload: the file at the provider, the copy in the storage, the row. Changes nothing.

    Args:
        uploads: what to look at.
        settings: where the providers are.
        storage: where copies and rows are.
        contents: read each copy, where else the storage's own word for its hash is taken (the embedded storage is
            always read).
        on_done: told after each upload.

    Raises:
        MissingKeyError: no key is configured for a provider.
        ServiceFailedError: the storage cannot be asked.
    """
    if not can_be_read_back(storage):
        raise ServiceFailedError("audit", f"a {type(storage).__name__} cannot be read back")
    async with asker() as asking:
        findings: dict[Upload, Finding] = {}
        providers: set[ProviderName] = {upload.provider for upload in uploads}
        for name in sorted(providers):
            looking = _Looking(provider(name), settings, place_of(storage, asking), asking, contents=contents)
            own = [upload for upload in uploads if upload.provider == name]
            await looking.prepare([upload.file_id for upload in own])
            findings.update(zip(own, await _side_by_side(own, looking, on_done), strict=True))
    return [findings[upload] for upload in uploads]


async def repaired(findings: Sequence[Finding], storage: UploadStorage) -> list[Finding]:
    """Write the rows that are to be written; nothing is deleted.

    Raises:
        tools.storage.port.StorageError: a row cannot be written.
    """
    after = []
    for finding in findings:
        if finding.row is not None:
            await storage.record_upload_async(finding.row)
            state = State.REPAIRED if finding.remedy is Remedy.REWRITE else State.QUARANTINED
            after.append(replace(finding, state=state))
        else:
            after.append(finding)
    return after


async def _side_by_side(uploads: Sequence[Upload], looking: _Looking, on_done: Callable[[], object]) -> list[Finding]:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(upload: Upload) -> Finding:
        async with places:
            finding = judge(upload, await looking.at(upload))
        on_done()
        return finding

    return list(await asyncio.gather(*map(one, uploads)))


class _Looking:
    """At the uploads to one provider."""

    def __init__(self, provider: Provider, settings: Settings, place: Place, asking: Asker, *, contents: bool) -> None:
        self._provider = provider
        self._files = provider_files(provider.name, settings, asking)
        self._place = place
        self._contents = contents
        self._listed: Mapping[str, Mapping[str, Any]] = {}
        self._unlisted: str | None = None
        self._rows: dict[str, Mapping[str, Any]] = {}

    async def prepare(self, ids: Sequence[str]) -> None:
        """Ask for what is asked for once for all."""
        for start in range(0, len(ids), ROWS_AT_ONCE):
            for row in await self._place.rows(self._provider.name, ids[start : start + ROWS_AT_ONCE]):
                self._rows[str(row["provider_file_id"])] = row
        if not self._provider.files.describes_one:
            await self._list(ids)

    async def at(self, upload: Upload) -> Seen:
        """What is there of an upload."""
        unknown = self._unlisted
        file: Mapping[str, Any] | None = self._listed.get(upload.file_id)
        if self._provider.files.describes_one:
            try:
                file = (await self._files.look([upload.file_id])).get(upload.file_id)
            except ServiceFailedError as error:
                unknown = str(error)
        row = self._rows.get(upload.file_id)
        return Seen(file=file, row=row, copy=await self._copy(upload, file, row), unknown=unknown)

    async def _list(self, ids: Collection[str]) -> None:
        try:
            self._listed = await self._files.look(ids)
        except (NoListingError, ServiceFailedError) as error:
            self._unlisted = str(error)

    async def _copy(
        self, upload: Upload, file: Mapping[str, Any] | None, row: Mapping[str, Any] | None
    ) -> Mapping[str, Any] | None:
        """The stored object; where the row does not lead to it, by the file's name."""
        name = row["filename"] if row is not None else None if file is None else file.get("filename")
        if name is None:
            return None
        wanted = upload.object_id or (None if row is None else row["supabase_file_id"])
        path = f"{self._provider.folder}/{name}"
        paths = candidate_paths(path, str(row["sha256"])) if row is not None else await self._named_alike(str(name))
        found = []
        for each in dict.fromkeys(paths):
            described = await self._look(each)
            if described is not None and wanted in (None, described["id"]):
                found.append(described)
        if wanted is None:  # only a copy that cannot be another file's
            found = [each for each in found if file is not None and each.get("size") == file.get("bytes")]
        return found[0] if len(found) == 1 else None

    async def _named_alike(self, name: str) -> list[str]:
        """Where a copy of a file of this name may be, if its hash is not known."""
        return await self._place.marked(self._provider.folder, PurePosixPath(name).stem)

    async def _look(self, path: str) -> Mapping[str, Any] | None:
        described = await self._place.look(path)
        if described is None or not self._contents:
            return described
        digest = await self._place.digest_of(path)
        if digest is None:
            return None
        return {**described, "size": digest.length, "sha256": digest.sha256}
