"""Looks at everything that the new implementation has made, and repairs what can be repaired. Deletes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from migration.guard import CandidateResult
from migration.model import Operation
from tools.providers.spec import UPLOAD_METHOD, Provider, provider
from tools.recovery.provider_files import provider_files
from tools.recovery.rest_client import Asker, NoListingError, ServiceFailedError, asker
from tools.recovery.stored import Place, can_be_read_back, place_of
from tools.settings import Settings
from tools.storage.placement import candidate_paths
from tools.storage.port import ProviderName, UploadRow, UploadStorage


class State(StrEnum):
    """What is the matter with an upload."""

    INTACT = "intact"  # file, copy and row are there and agree
    DAMAGED = "damaged"  # they are there and do not agree
    MISSING = "missing"  # one of them is not there
    UNKNOWN = "unknown"  # a service does not say
    REPAIRED = "repaired"  # its row was written anew
    QUARANTINED = "quarantined"  # its row says that it is not to be used


class Remedy(StrEnum):
    """What can be done about it."""

    NONE = "none"
    REWRITE = "write its row anew"
    QUARANTINE = "mark its row as failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One upload.

    Attributes:
        provider: who keeps the file.
        file_id: the provider's id of it.
        at: when it was uploaded, seconds since the epoch.
        trace: W3C traceparent of the run.
        state: what is the matter with it.
        problems: in words; none if it is intact.
        remedy: what can be done, or was done.
        row: the row as it is to be written, if one is.
    """

    provider: str
    file_id: str
    at: float
    trace: str | None
    state: State
    problems: tuple[str, ...] = ()
    remedy: Remedy = Remedy.NONE
    row: UploadRow | None = None

    @property
    def fine(self) -> bool:
        """Whether it can be used as it is."""
        return self.state in {State.INTACT, State.REPAIRED}


# What the services say of one upload, and what follows from that. No input, no output.

QUARANTINED = "quarantined by an audit: "
"""How the error message of a row begins that must not be used."""

_COLUMNS = frozenset(field.name for field in fields(UploadRow))


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An upload of the new implementation, as its result said.

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
class Seen:
    """What is really there; None where nothing is.

    Attributes:
        file: as the provider describes it.
        row: of the tracking table.
        copy: the stored object: its `id`, `size` and `sha256`.
        unknown: why a service does not say, if it does not.
    """

    file: Mapping[str, Any] | None = None
    row: Mapping[str, Any] | None = None
    copy: Mapping[str, Any] | None = None
    unknown: str | None = None


def judge(upload: Upload, seen: Seen) -> Finding:
    """Whether the three agree, and what can be done if they do not."""
    finding = Finding(
        provider=upload.provider, file_id=upload.file_id, at=upload.at, trace=upload.trace, state=State.INTACT
    )
    if seen.unknown is not None:
        return replace(finding, state=State.UNKNOWN, problems=(seen.unknown,))
    if seen.row is not None and str(seen.row["error_message"] or "").startswith(QUARANTINED):
        return replace(finding, state=State.QUARANTINED, problems=(str(seen.row["error_message"]),))
    missing = _missing(upload, seen)
    different = _different(seen)
    problems = (*missing, *different)
    if not problems:
        return finding
    sound = _sound_row(upload, seen)
    bad = None if sound is not None else _bad_row(upload, seen, "; ".join(problems))
    return replace(
        finding,
        state=State.MISSING if missing else State.DAMAGED,
        problems=problems,
        remedy=Remedy.REWRITE if sound else (Remedy.QUARANTINE if bad else Remedy.NONE),
        row=sound or bad,
    )


def _missing(upload: Upload, seen: Seen) -> list[str]:
    label = provider(upload.provider).label
    absent = {
        f"{label} does not have the file": seen.file,
        "its row is missing": seen.row,
        "its copy is missing": seen.copy,
    }
    return [problem for problem, thing in absent.items() if thing is None]


def _different(seen: Seen) -> list[str]:
    """What the row says and is not so; without a row, whether file and copy are of one size."""
    row, file, copy = seen.row, seen.file or {}, seen.copy or {}
    if row is None:
        claims = [("the file's size", file.get("bytes"), copy.get("size"))]
        return _disagreeing(claims, "the copy has")
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


_LONGEST_SHOWN = 40


def _sound_row(upload: Upload, seen: Seen) -> UploadRow | None:
    """The row as it should be, if file and copy are sound: then the row alone is wrong."""
    if seen.file is None or seen.copy is None or seen.copy.get("sha256") is None:
        return None
    if seen.file.get("bytes") != seen.copy.get("size"):
        return None
    if seen.row is not None and seen.row["sha256"] != seen.copy["sha256"]:
        return None  # either may be the wrong one
    return _row(
        upload,
        filename=str(seen.file.get("filename")),
        sha256=str(seen.copy["sha256"]),
        size=int(seen.copy["size"]),
        object_id=str(seen.copy["id"]),
    )


def _bad_row(upload: Upload, seen: Seen, problems: str) -> UploadRow | None:
    """The row that keeps the upload from being used; None if nothing is left that could be."""
    failed: dict[str, Any] = {"upload_status": "failed", "error_message": QUARANTINED + problems}
    if seen.row is not None:
        known = {name: value for name, value in seen.row.items() if name in _COLUMNS}
        return UploadRow(**{**known, **failed})
    if seen.file is None:
        return None
    row = _row(
        upload,
        filename=str(seen.file.get("filename")),
        sha256="",
        size=int(seen.file.get("bytes") or 0),
        object_id=upload.object_id,
    )
    return replace(row, **failed)


def _row(upload: Upload, *, filename: str, sha256: str, size: int, object_id: str | None) -> UploadRow:
    return UploadRow(
        provider=upload.provider,
        provider_file_id=upload.file_id,
        supabase_file_id=object_id,
        sha256=sha256,
        filename=filename,
        file_size_bytes=size,
        upload_status="completed",
        upload_method=UPLOAD_METHOD,
    )


# Looks at everything that the new implementation has made, and repairs what can be repaired. Deletes nothing.


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
