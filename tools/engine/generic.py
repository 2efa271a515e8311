"""Uploads to any address that takes a form with `purpose` and `file`, and the reading behind them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiofiles

from tools.engine.throttle import get_upload_semaphore
from tools.files import open_regular
from tools.settings import MEGABYTE
from tools.transport.reading import open_content
from tools.transport.rest import RestAnswer
from tools.transport.upload import post_file
from tools.transport.writing import loop_throttle

_OF_THE_FORM = frozenset({"content-type", "content-length"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadOutcome:
    """How the upload of one of several files ended: with a result or with an error.

    Attributes:
        file_path: the path as it was given.
        result: what `upload_file_streaming_async` returned, or None.
        error: what it raised, or None.
    """

    file_path: str | os.PathLike[str]
    result: dict[str, Any] | None = None
    error: Exception | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the file was uploaded."""
        return self.error is None


async def read_file_async(file_path: str | os.PathLike[str]) -> bytes:
    """The whole content of a file, read off the event loop.

    Raises:
        NotAFileError: it is no regular file.
        OSError: it cannot be read.
    """
    content = await open_content(Path(file_path))
    if content.held is not None:
        return content.held
    async with aiofiles.open(os.fspath(content.path), "rb", opener=open_regular) as file:
        return await file.read()


async def stream_file_chunks(
    file_path: str | os.PathLike[str], chunk_size: int = MEGABYTE
) -> AsyncGenerator[bytes, None]:
    """The content of a file in pieces of `chunk_size` bytes, each read off the event loop when it is asked for.

    A caller that stops early should close the iterator (`contextlib.aclosing`), which closes the file.

    Raises:
        ValueError: `chunk_size` is below 1.
        NotAFileError: it is no regular file.
        FileChangedError: the file changes meanwhile.
        OSError: it cannot be read.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1 byte, not {chunk_size}")
    content = await open_content(Path(file_path))
    async with aclosing(content.chunks(chunk_size)) as chunks:
        async for chunk in chunks:
            yield chunk


async def upload_file_streaming_async(
    file_path: str | os.PathLike[str],
    upload_url: str,
    headers: Mapping[str, str] | None = None,
    chunk_size: int = MEGABYTE,
    *,
    purpose: str = "file-extract",
) -> dict[str, Any]:
    """Send a file as a form, `purpose` part then `file` part, without holding it in memory. Sent once, never again.

    `headers` are added to the request, except for those that the form has itself (type and length).

    Returns:
        `status` ("success"), `status_code`, `response` (the JSON of the answer, else its text), `file_size` in bytes.

    Raises:
        HttpStatusError: the server answered with something else than 2xx; its subclasses tell which kind.
        ConnectionNotMadeError: nothing was sent.
        TransportError: there was no usable answer, and the file may have arrived.
        FileChangedError: the file changed meanwhile; the server got an incomplete form.
        NotAFileError, InvalidAddressError, ValueError: an argument cannot be used.
        OSError: the file cannot be read.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1 byte, not {chunk_size}")
    await loop_throttle().take()  # a hundred that begin at once would all wait for the interpreter's lock in one turn
    content = await open_content(Path(file_path))
    extra = {name: value for name, value in (headers or {}).items() if name.lower() not in _OF_THE_FORM}
    answer = await post_file(upload_url, content, purpose=purpose, headers=extra, chunk_bytes=chunk_size)
    answer.raise_for_status()
    return {
        "status": "success",
        "status_code": answer.status,
        "response": _json_or_text(answer),
        "file_size": content.size,
    }


async def upload_multiple_files_concurrent(
    file_paths: Iterable[str | os.PathLike[str]],
    upload_url_template: str,
    max_concurrent: int = 5,
    headers: Mapping[str, str] | None = None,
    chunk_size: int = MEGABYTE,
    *,
    purpose: str = "file-extract",
) -> list[UploadOutcome]:
    """Send several files, at most `max_concurrent` at once and no more than the pool has connections.

    `{filename}` in the address is replaced by each file's name, percent-encoded. A file that fails does not touch the
    others: its error is its outcome. Cancelling the call cancels every upload and waits for that.

    Returns:
        One outcome a file, in the order of `file_paths`.

    Raises:
        ValueError: `max_concurrent` is below 1.
    """
    throttle = await get_upload_semaphore(max_concurrent)

    async def upload(file_path: str | os.PathLike[str]) -> UploadOutcome:
        address = upload_url_template.replace("{filename}", quote(Path(file_path).name, safe=""))
        async with throttle:
            try:
                result = await upload_file_streaming_async(file_path, address, headers, chunk_size, purpose=purpose)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is this file's outcome
                return UploadOutcome(file_path=file_path, error=error)
            return UploadOutcome(file_path=file_path, result=result)

    async with asyncio.TaskGroup() as group:
        uploads = [group.create_task(upload(file_path)) for file_path in file_paths]
    return [upload.result() for upload in uploads]


def _json_or_text(answer: RestAnswer) -> Any:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return answer.text
