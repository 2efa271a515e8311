"""What a provider would read out of a file: its text, or for other kinds of files a plain description."""

from __future__ import annotations

import asyncio
import codecs
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A stored file as something to be read."""

    path: Path
    filename: str
    content_type: str
    bytes: int
    sha256: str

    @property
    def file_type(self) -> str:
        """Its media type without parameters."""
        return self.content_type.partition(";")[0].strip()


async def text_of(document: Document) -> AsyncIterator[str]:
    """The document's text in pieces: UTF-8 as it is, anything else described."""
    if not await asyncio.to_thread(_is_text, document.path):
        yield _description(document)
        return
    for piece in _decoded(document.path):
        yield piece


async def as_bytes(document: Document) -> AsyncIterator[bytes]:
    """The text in UTF-8."""
    async for piece in text_of(document):
        yield piece.encode()


async def as_json(document: Document, **others: Any) -> AsyncIterator[bytes]:
    """A JSON object with the text as `content` and others beside it, never whole in memory."""
    yield b'{"content":"'
    async for piece in text_of(document):
        yield json.dumps(piece, ensure_ascii=False)[1:-1].encode()
    rest = json.dumps(others, ensure_ascii=False, separators=(",", ":"))[1:]
    yield f'",{rest}'.encode()


def _is_text(path: Path) -> bool:
    try:
        return not any("\0" in piece for piece in _decoded(path))
    except UnicodeDecodeError:
        return False


def _decoded(path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)


def _description(document: Document) -> str:
    return (
        f"{document.filename} is a file of type {document.file_type} with {document.bytes} bytes and the SHA-256 "
        f"digest {document.sha256}. The sandbox reads plain text only; the real service would return the words in it."
    )
