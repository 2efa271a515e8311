"""What reconciliation finds out, and what it does about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tools.errors import ToolsError
from tools.journal.port import State, UploadSide
from tools.storage.port import ProviderName


class ContentChangedError(ToolsError):
    """A file that was to be uploaded again has another content by now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path.name} has changed since it was to be uploaded; it was not sent")


class AtWorkError(ToolsError):
    """Another process is removing orphans."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"another process is removing orphans (it holds {path}); wait until it has ended")


# What reconciliation finds out, and what it does about it.


class Step(StrEnum):
    """What is done about an unfinished upload."""

    ADOPT = "adopt"  # its file is at the provider: copy and row are made good
    REPEAT = "repeat"  # it is not, and the file to be uploaded is as it was: it is uploaded by the same implementation
    CLEAN_UP = "clean up"  # what is left of it is removed: nobody was promised anything, and it cannot be completed
    WAIT = "wait"  # somebody is at work on the same; it is looked at again later
    UNKNOWN = "unknown"  # nobody can say what became of it: nothing is sent and nothing is removed


SETTLED = frozenset({Step.ADOPT, Step.REPEAT, Step.CLEAN_UP})
"""Steps after which the journal has nothing more to remember."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is to be done about an unfinished upload.

    Attributes:
        step: what.
        reason: why, in words.
        keep: the provider's id of the file that is the upload's, if one is.
        remove: the provider's ids of files that are too many.
        nothing_found: whether it rests on nothing having been found; a listing may lag, so it is looked again.
    """

    step: Step
    reason: str
    keep: str | None = None
    remove: tuple[str, ...] = ()
    nothing_found: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """An unfinished upload, and what became of it.

    Attributes:
        upload_id: as in the journal.
        provider: to whom it went.
        side: which implementation carried it out.
        filename: name of the file.
        began_at: when it began, seconds since the epoch.
        state: how far it had come.
        step: what was done, or would be.
        reason: why, in words.
        done: whether it was done.
        file_id: the provider's id of the file that it ended with.
        removed: the provider's ids of the files that were too many.
        trouble: why it could not be done.
    """

    upload_id: str
    provider: ProviderName
    side: UploadSide
    filename: str
    began_at: float
    state: State
    step: Step
    reason: str
    done: bool = False
    file_id: str | None = None
    removed: tuple[str, ...] = ()
    trouble: str | None = None


class OrphanKind(StrEnum):
    """What an orphan is."""

    FILE = "file"  # at a provider, and no row names it
    OBJECT = "object"  # in the storage, and no row names it or its content
    ROW = "row"  # it names a file that the provider no longer has


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """Something that belongs to no upload.

    Attributes:
        kind: what it is.
        provider: whose file, copy or row it is.
        name: the provider's id of the file, or the path of the object.
        filename: name of the file.
        created_at: when it was made, seconds since the epoch.
        reason: why it is an orphan, in words.
        kept_because: why it is left alone even if orphans are to be removed; None: it is removed, or its row marked.
        done: whether that was done.
        trouble: why it could not be done.
    """

    kind: OrphanKind
    provider: ProviderName
    name: str
    filename: str
    created_at: float
    reason: str
    kept_because: str | None = None
    done: bool = False
    trouble: str | None = None
