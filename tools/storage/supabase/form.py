"""The form in which the official client sends an object: the fields `cacheControl` and `metadata`, then `file`."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from tools.engine.form import FileForm
from tools.storage.supabase.terms import CACHE_CONTROL, STORAGE_SECONDS, Description

if TYPE_CHECKING:
    from tools.engine.reading import FileSource


def object_form(source: FileSource, *, filename: str, description: Description) -> FileForm:
    """The form for one object, which is read piece by piece while it is sent."""
    boundary = os.urandom(16).hex()
    preamble = "".join(
        (
            _field(boundary, "cacheControl", CACHE_CONTROL),
            _field(boundary, "metadata", json.dumps(description.metadata)),
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n',
            f"Content-Type: {description.content_type}\r\n\r\n",
        )
    ).encode()
    return FileForm(source, boundary=boundary, preamble=preamble, stall_seconds=STORAGE_SECONDS)


def _field(boundary: str, name: str, value: str) -> str:
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
