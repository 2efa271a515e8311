"""What the services say of one upload, and what follows from that. No input, no output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from tools.providers.spec import UPLOAD_METHOD, provider
from tools.storage.port import ProviderName, UploadRow


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
