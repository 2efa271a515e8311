"""The rule by which a content gets its key in the storage, without any input or output (sans-IO).

The policy is a generator: it yields what is to be done and is sent what came of it. `shim.primitives` runs it for
blocking and for asynchronous storages, so that both ask the same in the same order.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from dataclasses import dataclass

from tools.storage.port import BadKeyError, NoFreeKeyError, StorageAnswerError

_OUTSIDE = re.compile(rb"[^A-Za-z0-9_/!.*'() &$@;:+,?-]")
"""Supabase Storage allows these characters and `=` in a key; `=` itself is what marks an escape here."""
_ESCAPED = re.compile(rb"=([0-9A-F]{2})")

_LONGEST_NAME = 255
"""Bytes in a file name on the usual file systems."""
_LONGEST_EXTENSION = 32
_SUFFIX_DIGITS = (8, 64)


def encode_key(path: str) -> str:
    """Write `path` with the characters that Supabase Storage allows: every other byte becomes `=XX`, as in mail.

    `decode_key` gives the path back, whatever string it was.
    """
    return _OUTSIDE.sub(lambda byte: b"=%02X" % byte[0][0], _encoded(path)).decode("ascii")


def decode_key(key: str) -> str:
    """The path that `encode_key` wrote as `key`."""
    raw = _ESCAPED.sub(lambda escape: bytes.fromhex(escape[1].decode("ascii")), key.encode("ascii"))
    return raw.decode("utf-8", "surrogatepass")


def check_path(path: str) -> None:
    """Refuse what could leave the storage's folder or is no name at all.

    Raises:
        BadKeyError: the path is absolute, empty, or has an empty, `.` or `..` part.
    """
    if "\0" in path:
        raise BadKeyError(path, "it contains a NUL character")
    if any(part in {"", ".", ".."} for part in path.split("/")):
        raise BadKeyError(path, "every part of the path must be a name")


def candidate_paths(path: str, sha256: str) -> list[str]:
    """Where content may be kept, best first: under its own path, then with more and more of its hash in the name."""
    return [path, *(_with_suffix(path, f"-{sha256[:digits]}") for digits in _SUFFIX_DIGITS)]


def _with_suffix(path: str, suffix: str) -> str:
    """Put `suffix` before the extension, shortening a name that would become too long."""
    folder, slash, name = path.rpartition("/")
    stem, extension = os.path.splitext(name)  # noqa: PTH122  # a key is no path of this machine
    if len(extension) > _LONGEST_EXTENSION:
        stem, extension = name, ""
    while len(_encoded(stem + suffix + extension)) > _LONGEST_NAME:
        stem = stem[:-1]
    return f"{folder}{slash}{stem}{suffix}{extension}"


def _encoded(text: str) -> bytes:
    """UTF-8, and also for names that are no UTF-8: Python holds their odd bytes as surrogates."""
    return text.encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Store the content at `path`, unless something is there."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Say what is stored at `path`."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateBucket:
    """Create the bucket; one that is there already is as good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The content was stored; `object_id` is None when the storage did not name it."""

    object_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Something is stored at this path already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketMissing:
    """There is no bucket to store in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundObject:
    """What is stored at a path; `sha256` is None when the storage does not know it."""

    object_id: str
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """Nothing is stored at this path (any more)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A step is done, and there is nothing to report of it."""


Step = Put | Look | CreateBucket
Outcome = Stored | Taken | BucketMissing | FoundObject | Absent | Done
Policy = Generator[Step, Outcome, str]


def place(path: str, *, size: int, sha256: str) -> Policy:
    """Store content once, and never over other content. Returns the id of the object that holds it.

    Raises:
        BadKeyError: `path` cannot be the path of an object.
        NoFreeKeyError: every candidate path holds other content.
        StorageAnswerError: the bucket stays missing.
    """
    check_path(path)
    for candidate in candidate_paths(path, sha256):
        outcome = yield from _put(candidate)
        if isinstance(outcome, Stored) and outcome.object_id is not None:
            return outcome.object_id
        existing = yield Look(path=candidate)
        if isinstance(existing, FoundObject) and (
            isinstance(outcome, Stored) or (existing.size, existing.sha256) == (size, sha256)
        ):
            return existing.object_id
    raise NoFreeKeyError(path)


def _put(path: str) -> Generator[Step, Outcome, Outcome]:
    """Put, creating the bucket once if there is none."""
    outcome = yield Put(path=path)
    if isinstance(outcome, BucketMissing):
        yield CreateBucket()
        outcome = yield Put(path=path)
    if isinstance(outcome, BucketMissing):
        raise StorageAnswerError(
            action=f"store {path!r}", problem="the bucket is missing, and creating it did not help"
        )
    return outcome
