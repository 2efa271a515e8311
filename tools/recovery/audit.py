"""Looks at everything that the candidate has made, and repairs what can be repaired. Deletes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from migration.guard import CandidateResult
from migration.model import Operation
from tools.providers.spec import UPLOAD_METHOD, provider
from tools.recovery.inventory import Inventory, open_inventory, row_of
from tools.recovery.provider_files import Described, ProviderFiles
from tools.recovery.service_client import NoListingError, ServiceFailedError
from tools.settings import Settings
from tools.storage.placement import candidate_paths
from tools.storage.port import ProviderName, UploadRow, UploadStorage

AT_ONCE = 8
"""Uploads that are looked at side by side."""

ROWS_AT_ONCE = 50
"""Rows that are asked for in one question."""

QUARANTINED = "quarantined by an audit: "
"""How the error message of a row begins that must not be used."""

_LONGEST_SHOWN = 40


class AuditState(StrEnum):
    """What is the matter with an upload."""

    INTACT = "intact"  # file, copy and row are there and agree
    DAMAGED = "damaged"  # they are there and do not agree
    MISSING = "missing"  # one of them is not there
    UNKNOWN = "unknown"  # a service does not say
    REPAIRED = "repaired"  # its row was written again
    QUARANTINED = "quarantined"  # its row says that it is not to be used


class Remedy(StrEnum):
    """What can be done about it."""

    NONE = "none"
    REWRITE = "write its row again"
    QUARANTINE = "mark its row as failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeUpload:
    """An upload of the candidate, as its result said.

    Attributes:
        provider: who was given the file.
        file_id: the provider's id of it.
        object_id: the storage's id of the copy, where the result named it.
        at: when, seconds since the epoch.
        trace: W3C traceparent of the run.
    """

    provider: ProviderName
    file_id: str
    object_id: str | None
    at: float
    trace: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFinding:
    """One upload, looked at.

    Attributes:
        upload: as its result said.
        state: what is the matter with it.
        problems: in words; none if it is intact.
        remedy: what can be done, or was done.
        row: the row as it is to be written, if one is.
    """

    upload: MadeUpload
    state: AuditState
    problems: tuple[str, ...] = ()
    remedy: Remedy = Remedy.NONE
    row: UploadRow | None = None

    @property
    def fine(self) -> bool:
        """Whether it can be used as it is."""
        return self.state in {AuditState.INTACT, AuditState.REPAIRED}


def things_made(operation: Operation) -> Sequence[Mapping[str, str]]:
    """The files that a successful upload has made: `provider`, `file_id`, and `object_id` where the result names it.

    No names of files: those are in the tracking table, and there only.
    """
    name = str(operation.call.attributes.get("upload.provider", ""))
    result = None if operation.outcome is None else operation.outcome.value
    entries = [each for each in (result if isinstance(result, list) else [result]) if isinstance(each, dict)]
    return [_thing(name, entry) for entry in entries if not entry.get("deduplicated")]


def _thing(name: str, entry: Mapping[str, Any]) -> Mapping[str, str]:
    thing = {"provider": name, "file_id": str(entry.get(f"{name}_file_id") or entry.get("file_id"))}
    object_id = entry.get("supabase_file_id")
    return thing if object_id is None else {**thing, "object_id": str(object_id)}


def uploads_of(made: Sequence[CandidateResult]) -> list[MadeUpload]:
    """The uploads that succeeded, each once, oldest first."""
    found: dict[tuple[str, str], MadeUpload] = {}
    for each in made:
        for thing in each.things:
            name, file_id = provider(thing["provider"]).name, thing["file_id"]
            upload = MadeUpload(
                provider=name, file_id=file_id, object_id=thing.get("object_id"), at=each.at, trace=each.trace
            )
            found.setdefault((name, file_id), upload)
    return list(found.values())


async def audit(
    uploads: Sequence[MadeUpload],
    settings: Settings,
    storage: UploadStorage,
    *,
    contents: bool = False,
    on_done: Callable[[], object] = lambda: None,
) -> list[AuditFinding]:
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
    places = asyncio.Semaphore(AT_ONCE)

    async def one(upload: MadeUpload, look: _AuditLook) -> AuditFinding:
        async with places:
            finding = judge_upload(upload, await look.at(upload))
        on_done()
        return finding

    async with open_inventory(settings, storage=storage) as at:
        looks: dict[ProviderName, _AuditLook] = {}
        for name in sorted({upload.provider for upload in uploads}):
            provider(name).key(settings)  # says which key is missing
            looks[name] = _AuditLook(at, at.accounts[name], contents=contents)
            await looks[name].prepare([upload.file_id for upload in uploads if upload.provider == name])
        return list(await asyncio.gather(*(one(upload, looks[upload.provider]) for upload in uploads)))


async def repaired(findings: Sequence[AuditFinding], storage: UploadStorage) -> list[AuditFinding]:
    """Write the rows that are to be written; nothing is deleted.

    Raises:
        tools.storage.port.StorageError: a row cannot be written.
    """
    after = list(findings)
    for number, finding in enumerate(findings):
        if finding.row is not None:
            await storage.record_upload_async(finding.row)
            state = AuditState.REPAIRED if finding.remedy is Remedy.REWRITE else AuditState.QUARANTINED
            after[number] = replace(finding, state=state)
    return after


class _AuditLook:
    """Looks at the uploads to one provider."""

    def __init__(self, at: Inventory, account: ProviderFiles, *, contents: bool) -> None:
        self._stored = at.stored
        self._account = account
        self._describes_one = provider(account.name).files.describes_one
        self._contents = contents
        self._listed: Mapping[str, Described] = {}
        self._unlisted: str | None = None
        self._rows: dict[str, Described] = {}

    async def prepare(self, ids: Sequence[str]) -> None:
        """Ask for what is asked for once for all."""
        for start in range(0, len(ids), ROWS_AT_ONCE):
            for row in await self._stored.rows(self._account.name, ids=ids[start : start + ROWS_AT_ONCE]):
                self._rows[str(row["provider_file_id"])] = row
        if not self._describes_one:
            try:
                self._listed = await self._account.look(ids)
            except (NoListingError, ServiceFailedError) as error:
                self._unlisted = str(error)

    async def at(self, upload: MadeUpload) -> Inspected:
        """What is there of an upload."""
        unknown, file = self._unlisted, self._listed.get(upload.file_id)
        if self._describes_one:
            try:
                file = (await self._account.look([upload.file_id])).get(upload.file_id)
            except ServiceFailedError as error:
                unknown = str(error)
        row = self._rows.get(upload.file_id)
        return Inspected(file=file, row=row, copy=await self._copy(upload, file, row), unknown=unknown)

    async def _copy(self, upload: MadeUpload, file: Described | None, row: Described | None) -> Described | None:
        """The stored object; where the row does not lead to it, by the file's name."""
        name = row["filename"] if row is not None else None if file is None else file.get("filename")
        if name is None:
            return None
        wanted = upload.object_id or (None if row is None else row["supabase_file_id"])
        if row is not None:
            paths = candidate_paths(f"{self._account.folder}/{name}", str(row["sha256"]))
        else:  # its hash is not known
            alike = await self._stored.objects(self._account.folder, PurePosixPath(str(name)).stem)
            paths = [str(each["path"]) for each in alike]
        there = [described for path in dict.fromkeys(paths) if (described := await self._look(path)) is not None]
        found = [described for described in there if wanted in (None, described["id"])]
        if wanted is None:  # only a copy that cannot be another file's
            found = [each for each in found if file is not None and each.get("size") == file.get("bytes")]
        return found[0] if len(found) == 1 else None

    async def _look(self, path: str) -> Described | None:
        described = await self._stored.look(path)
        if described is None or not self._contents:
            return described
        digest = await self._stored.digest_of(path)
        return None if digest is None else {**described, "size": digest.length, "sha256": digest.sha256}


# What follows from what the services say of one upload. No input, no output.


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What is really there; None where nothing is.

    Attributes:
        file: as the provider describes it.
        row: of the tracking table.
        copy: the stored object: its `id`, `size` and `sha256`.
        unknown: why a service does not say, if it does not.
    """

    file: Described | None = None
    row: Described | None = None
    copy: Described | None = None
    unknown: str | None = None


def judge_upload(upload: MadeUpload, seen: Inspected) -> AuditFinding:
    """Whether the three agree, and what can be done if they do not."""
    finding = AuditFinding(upload=upload, state=AuditState.INTACT)
    if seen.unknown is not None:
        return replace(finding, state=AuditState.UNKNOWN, problems=(seen.unknown,))
    if seen.row is not None and str(seen.row["error_message"] or "").startswith(QUARANTINED):
        return replace(finding, state=AuditState.QUARANTINED, problems=(str(seen.row["error_message"]),))
    missing = _missing(upload, seen)
    problems = (*missing, *_different(seen))
    if not problems:
        return finding
    sound = _sound_row(upload, seen)
    bad = None if sound is not None else _bad_row(upload, seen, "; ".join(problems))
    return replace(
        finding,
        state=AuditState.MISSING if missing else AuditState.DAMAGED,
        problems=problems,
        remedy=Remedy.REWRITE if sound else (Remedy.QUARANTINE if bad else Remedy.NONE),
        row=sound or bad,
    )


def _missing(upload: MadeUpload, seen: Inspected) -> list[str]:
    absent = {
        f"{provider(upload.provider).label} does not have the file": seen.file,
        "its row is missing": seen.row,
        "its copy is missing": seen.copy,
    }
    return [problem for problem, thing in absent.items() if thing is None]


def _different(seen: Inspected) -> list[str]:
    """What the row says and is not so; without a row, whether file and copy are of one size."""
    row, file, copy = seen.row, seen.file or {}, seen.copy or {}
    if row is None:
        return _disagreeing([("the file's size", file.get("bytes"), copy.get("size"))], "the copy has")
    claims = [
        ("the file's size", file.get("bytes"), row["file_size_bytes"]),
        ("the file's name", file.get("filename"), row["filename"]),
        ("the copy's size", copy.get("size"), row["file_size_bytes"]),
        ("the copy's SHA-256", copy.get("sha256"), row["sha256"]),
        ("the copy's id", copy.get("id"), row["supabase_file_id"]),
        ("the status", "completed", row["upload_status"]),
    ]
    return _disagreeing(claims, "the row says")


def _disagreeing(claims: list[tuple[str, Any, Any]], says: str) -> list[str]:
    return [
        f"{what} is {_shown(real)}, {says} {_shown(claimed)}"
        for what, real, claimed in claims
        if real is not None and str(real) != str(claimed)
    ]


def _shown(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:12]}..."


def _sound_row(upload: MadeUpload, seen: Inspected) -> UploadRow | None:
    """The row as it should be, if file and copy are sound: then the row alone is wrong."""
    if seen.file is None or seen.copy is None or seen.copy.get("sha256") is None:
        return None
    if seen.file.get("bytes") != seen.copy.get("size"):
        return None
    if seen.row is not None and seen.row["sha256"] != seen.copy["sha256"]:
        return None  # either may be the wrong one
    copy = seen.copy
    return _row(upload, seen.file, sha256=str(copy["sha256"]), size=int(copy["size"]), object_id=str(copy["id"]))


def _bad_row(upload: MadeUpload, seen: Inspected, problems: str) -> UploadRow | None:
    """The row that keeps the upload from being used; None if nothing is left that could be."""
    failed: dict[str, Any] = {"upload_status": "failed", "error_message": QUARANTINED + problems}
    if seen.row is not None:
        return row_of(seen.row, **failed)
    if seen.file is None:
        return None
    size = int(seen.file.get("bytes") or 0)
    return replace(_row(upload, seen.file, sha256="", size=size, object_id=upload.object_id), **failed)


def _row(upload: MadeUpload, file: Described, *, sha256: str, size: int, object_id: str | None) -> UploadRow:
    return UploadRow(
        provider=upload.provider,
        provider_file_id=upload.file_id,
        supabase_file_id=object_id,
        sha256=sha256,
        filename=str(file.get("filename")),
        file_size_bytes=size,
        upload_status="completed",
        upload_method=UPLOAD_METHOD,
    )
