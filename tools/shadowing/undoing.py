"""Removes what a live shadow has made, and makes sure of it by looking again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

from tools.recovery.places import Place
from tools.recovery.provider_files import ProviderFiles
from tools.shadowing.trial_errors import NoListingError, ServiceFailedError

ROUNDS = 4
"""How often is looked and removed until nothing is found; what is then still there is left and reported."""

SECOND_LOOK_SECONDS = 1.0
"""A listing may lag behind, and a request may still be under way that lost its sender."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where a shadow makes things, and how they are marked."""

    mark: str
    files: ProviderFiles
    place: Place
    folder: str


@dataclass(slots=True, kw_only=True)
class Remains:
    """What is there of a shadow.

    Attributes:
        files, objects, rows: ids, paths, and ids of the files that the rows are about.
        listed: whether the provider lists its files: else there may be more than is known.
    """

    files: list[str] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    listed: bool = True

    def __len__(self) -> int:
        return len(self.files) + len(self.objects) + len(self.rows)

    def __str__(self) -> str:
        named = {"files at the provider": self.files, "stored objects": self.objects, "rows": self.rows}
        return ", ".join(f"{len(each)} {name}" for name, each in named.items() if each) or "nothing"


async def find_remains(where: Where, known: Collection[str]) -> Remains:
    """What is there of a shadow: whatever is marked, and the files that it is known to have made.

    Raises:
        ServiceFailedError: a service does not say.
    """
    provider, remains = where.files.name, Remains()
    remains.objects = await where.place.marked(where.folder, where.mark)
    of_known = await where.place.rows(provider, known)
    rows = {*(str(row["provider_file_id"]) for row in of_known), *await where.place.marked_rows(provider, where.mark)}
    remains.rows = sorted(rows)
    try:
        files = {*await where.files.marked(where.mark), *await where.files.look(known)}
    except NoListingError:
        files, remains.listed = set(known), False
    remains.files = sorted(files)
    return remains


async def undo(
    where: Where,
    known: Collection[str],
    *,
    certain: bool,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> str | None:
    """Remove it all; None when it is known to be gone, else a sentence that says what is left.

    Args:
        where: where it is, and how it is marked.
        known: the ids of the files that it is known to have made.
        certain: whether these are all: every request was answered. If not, nothing found once is not enough.
        sleep: waits.
    """
    looks, remains = 0, Remains()
    try:
        for number in range(ROUNDS):
            if number:
                await sleep(SECOND_LOOK_SECONDS if looks else 0.0)
            remains = await find_remains(where, known)
            if not remains.listed:
                await _remove(where, remains)
                return await _unlisted(where, known, certain=certain)
            looks = 0 if remains else looks + 1
            if looks > (not certain):
                return None
            await _remove(where, remains)
    except ServiceFailedError as error:
        return f"what a live shadow made under the name {where.mark}... could not all be removed: {error}"
    return f"a live shadow left {remains} under the name {where.mark}...: it is there again after it was removed"


async def _unlisted(where: Where, known: Collection[str], *, certain: bool) -> str | None:
    """What can be said where the provider does not list its files: it has confirmed each removal, and that is all."""
    left = await find_remains(where, ())
    if left.objects or left.rows:
        return f"a live shadow left {left} under the name {where.mark}...: it is there again after it was removed"
    if certain:
        return None
    return (
        f"{where.files.label} does not list its files, so it is not known whether a live shadow left one named "
        f"{where.mark}... there beside the {len(known)} that were removed"
    )


async def _remove(where: Where, remains: Remains) -> None:
    """Rows first: none is ever about a file that is gone."""
    await where.place.remove_rows(where.files.name, remains.rows)
    for file_id in remains.files:
        await where.files.remove(file_id)
    await where.place.remove(remains.objects)
