"""Looks in a provider's listing for an upload whose answer was lost.

Uploads of the same name, size and purpose look the same in a provider's listing. An upload that has lost its answer
must not take the file of a neighbour, so it first waits for the neighbours' answers, and never takes a file twice.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError

from tools.journal.port import JournalError, State
from tools.journal.upload import JournaledUpload
from tools.providers.answers import listed_name
from tools.providers.spec import Provider
from tools.settings import MEGABYTE, get_settings
from tools.transport.errors import AmbiguousListingError, HttpStatusError, ListingUnavailableError, TransportError
from tools.transport.loops import PerLoop, run_in_thread
from tools.transport.rest import RestAnswer
from tools.transport.upload import get

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


_MAX_PAGE_BYTES = 4 * MEGABYTE
_PAGE_SIZE = 100
_MAX_PAGES = 20
_SLACK_SECONDS = 5.0
"""Listings show whole seconds, and a provider's machines need not agree to the second."""


class _ListedFile(BaseModel):
    id: str
    filename: str
    bytes: int
    purpose: str
    created_at: float


class _Page(BaseModel):
    data: list[_ListedFile]
    has_more: bool = False


async def find_upload(
    provider: Provider, likeness: Likeness, *, seconds_ago: float, journaled: JournaledUpload | None = None
) -> str | None:
    """The id of the file that an upload which began `seconds_ago` has made; it is claimed for the caller.

    The oldest of several is taken: later ones are a retry's or a neighbour's. With `journaled`, the journal says which
    files are those of other uploads: of legacy, of other processes and of other machines.

    Raises:
        ListingUnavailableError: the provider, or the journal, cannot be asked, so it is unknown.
        AmbiguousListingError: a file is there that may as well be of an upload that is not over.
    """
    files, listed_at = await _list(provider, purpose=likeness.purpose)
    await neighbours_answered(likeness)  # whatever they made is claimed now
    since = listed_at - seconds_ago - _SLACK_SECONDS
    found = [
        file.id
        for file in sorted(files, key=lambda file: file.created_at)
        if _likeness(provider, file) == likeness and file.created_at >= since and is_free(provider.name, file.id)
    ]
    if found and journaled is not None:
        found = await run_in_thread(_not_of_others, found, journaled)
    return next((file_id for file_id in found if claim(provider.name, file_id)), None)


def _not_of_others(found: list[str], journaled: JournaledUpload) -> list[str]:
    """The files that no other upload has made, as far as the journal knows. Blocks."""
    try:
        others = journaled.others()
    except JournalError as error:
        raise ListingUnavailableError(f"a file is there that may be another upload's: {error}") from error
    named = {other.facts.provider_file_id for other in others}
    left = [file_id for file_id in found if file_id not in named]
    sha256 = journaled.intent.sha256
    if left and any(other.state is not State.DONE and other.intent.sha256 != sha256 for other in others):
        raise AmbiguousListingError("a file is there that may be of another upload of this name and size")
    return left


def _likeness(provider: Provider, file: _ListedFile) -> Likeness:
    return Likeness(provider=provider.name, filename=listed_name(file.filename), size=file.bytes, purpose=file.purpose)


async def _list(provider: Provider, *, purpose: str) -> tuple[list[_ListedFile], float]:
    """All files that a provider lists, and its time when it did, in seconds since 1970."""
    query = {"purpose": purpose, "limit": str(_PAGE_SIZE)} if provider.files.pages else {}
    files: list[_ListedFile] = []
    for _ in range(_MAX_PAGES):
        answer = await _ask(provider, query)
        page = _parsed(provider, answer)
        files.extend(page.data)
        if not (page.has_more and page.data):
            return files, answer.server_time()
        query["after"] = page.data[-1].id
    raise ListingUnavailableError(f"{provider.label} lists more than {_MAX_PAGES * _PAGE_SIZE} files")


async def _ask(provider: Provider, query: dict[str, str]) -> RestAnswer:
    settings = get_settings()
    address, headers = provider.files_address(settings), provider.headers(settings)
    try:
        answer = await get(address, query=query, headers=headers, limit=_MAX_PAGE_BYTES)
        answer.raise_for_status()
    except (TransportError, HttpStatusError) as error:
        problem = str(error)
    else:
        return answer
    # not chained: that no connection was made for the listing says nothing about the upload
    raise ListingUnavailableError(f"{provider.label} does not list its files: {problem}")


def _parsed(provider: Provider, answer: RestAnswer) -> _Page:
    """Strict: an entry that cannot be read might be the one that is looked for."""
    try:
        return _Page.model_validate_json(answer.body)
    except ValidationError as error:
        raise ListingUnavailableError(f"{provider.label} lists its files in an unknown form") from error
