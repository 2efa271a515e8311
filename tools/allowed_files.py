"""The files that may be asked about: those within `SHIM_ALLOWED_ROOTS`, whatever links lead to or from there."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from io import FileIO
from pathlib import Path

from tools.files import open_beneath, too_large, validate_upload
from tools.providers.spec import PROVIDERS
from tools.settings import get_settings


def open_allowed(file_path: str) -> tuple[Path, FileIO, str]:
    """Open a file that may be asked about, and hash it.

    The file stays open, so that what was checked is what is read later, whatever its path leads to by then.

    Returns:
        Its path without symbolic links, the open file (the caller closes it), and its SHA-256 in hexadecimal.

    Raises:
        ValueError: it lies outside the allowed folders, does not exist, is no regular file, or is too large.
        OSError: it cannot be opened.
    """
    settings = get_settings()
    root, path = _allowed(file_path)
    limit = max(each.limit(settings) for each in PROVIDERS.values())
    validate_upload(path, limit=limit)
    with ExitStack() as until_it_is_known:
        file = until_it_is_known.enter_context(open_beneath(root, path))
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise too_large(path, size=size, limit=limit)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        until_it_is_known.pop_all()
    return path, file, sha256


def _allowed(file_path: str) -> tuple[Path, Path]:
    """The allowed root that the file lies in, and where it lies, both without links."""
    path = Path(file_path).resolve()
    roots = [root.resolve() for root in get_settings().shim_allowed_roots or (Path.cwd(),)]
    for root in roots:
        if path.is_relative_to(root):
            return root, path
    allowed = ", ".join(str(root) for root in roots)
    raise ValueError(f"{file_path} lies outside the allowed folders ({allowed}); SHIM_ALLOWED_ROOTS sets them")
