"""The form of a file upload, byte for byte what the vendors' SDKs send.

The SDKs render forms with httpx (https://github.com/encode/httpx/blob/0.28.1/httpx/_multipart.py) and its fork httpx2:
quotes and control characters in a name are written as `%XX`, except for ESC; a backslash is doubled.
"""

from __future__ import annotations

import mimetypes
import os

from tools.engine.body import FileBody
from tools.engine.reading import FileContent

_ESC = 0x1B
_ESCAPES = {code: f"%{code:02X}" for code in range(0x20) if code != _ESC} | {ord('"'): "%22", ord("\\"): "\\\\"}


def upload_form(
    content: FileContent, *, purpose: str, stall_seconds: float, chunk_bytes: int | None = None
) -> FileBody:
    """The form `purpose`, `file`."""
    boundary = os.urandom(16).hex()
    return FileBody(
        content,
        content_type=f"multipart/form-data; boundary={boundary}",
        preamble=_preamble(boundary, purpose=purpose, filename=content.name),
        epilogue=f"\r\n--{boundary}--\r\n".encode(),
        stall_seconds=stall_seconds,
        chunk_bytes=chunk_bytes,
    )


def _preamble(boundary: str, *, purpose: str, filename: str) -> bytes:
    """Everything in front of the file's bytes."""
    # encoded alone, so that a name that is no text is reported as by the SDKs
    quoted = f'filename="{filename.translate(_ESCAPES)}"'.encode()
    return b"".join(
        (
            f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'.encode(),
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; '.encode(),
            quoted,
            f"\r\nContent-Type: {_content_type(filename)}\r\n\r\n".encode(),
        )
    )


def _content_type(filename: str) -> str:
    return mimetypes.guess_type(filename)[0] or "application/octet-stream"
