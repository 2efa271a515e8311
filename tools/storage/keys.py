"""Names of stored objects: which exist for a file, and how they are written where few characters are allowed."""

from __future__ import annotations

import os
import re

from tools.storage.errors import BadKeyError

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
