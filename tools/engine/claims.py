"""Claims on a provider's files: no two uploads of this process may take the same one for theirs.

Uploads of the same name, size and purpose look the same in a provider's listing. An upload that has lost its answer
must not take the file of a neighbour, so it first waits for the neighbours' answers, and never takes a file twice.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import unquote

from tools.engine.loops import PerLoop

_REMEMBERED_IDS = 10_000
"""Only files made since an upload began are looked at, so older ids need not be remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """What a listing shows of an upload.

    Attributes:
        provider: who lists it.
        filename: its name, as `listed_name` writes it.
        size: bytes.
        purpose: what it is for.
    """

    provider: str
    filename: str
    size: int
    purpose: str


def listed_name(name: str) -> str:
    """A file's name in the one form that stands for all forms in which a server may list it.

    A form carries quotes as `%22` and backslashes doubled. Some servers undo that, some undo part of it, some nothing.
    """
    return unquote(name).replace("\\\\", "\\")


_taken: OrderedDict[tuple[str, str], None] = OrderedDict()
_on_the_way: PerLoop[dict[Likeness, set[asyncio.Event]]] = PerLoop()


def is_free(provider: str, file_id: str) -> bool:
    """Whether no upload of this process has taken a provider's file."""
    return (provider, file_id) not in _taken


def claim(provider: str, file_id: str) -> bool:
    """Take a provider's file for one upload. False if another upload of this process has it."""
    key = (provider, file_id)
    if key in _taken:
        return False
    _taken[key] = None
    if len(_taken) > _REMEMBERED_IDS:
        _taken.popitem(last=False)
    return True


@asynccontextmanager
async def awaiting_answer(likeness: Likeness) -> AsyncIterator[None]:
    """Surround the sending of an upload, up to the claim of the file that its answer names."""
    answered = asyncio.Event()
    on_the_way = _on_the_way.get()
    if on_the_way is None:
        on_the_way = _on_the_way.set({})
    neighbours = on_the_way.setdefault(likeness, set())
    neighbours.add(answered)
    try:
        yield
    finally:
        answered.set()
        neighbours.discard(answered)
        if not neighbours:
            on_the_way.pop(likeness, None)


async def neighbours_answered(likeness: Likeness) -> None:
    """Wait until the uploads of this likeness that are being sent now have their answers."""
    for neighbour in tuple((_on_the_way.get() or {}).get(likeness, ())):
        await neighbour.wait()
