"""Which file of a provider's list an upload takes for its own, when its answer was lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tools.engine.support import WireServer, listed_file, listing_of
from tools.engine.listing import Likeness, awaiting_answer, claim, find_upload
from tools.providers.answers import listed_name
from tools.providers.spec import GLM, KIMI

MakeFile = Callable[[str, bytes], Path]


UNLIKE = [
    listed_file("x", filename="b.txt"),
    listed_file("x", bytes=8),
    listed_file("x", purpose="batch"),
    listed_file("x", created_at=time.time() - 3600),
]


@pytest.mark.parametrize("file", UNLIKE, ids=["name", "size", "purpose", "age"])
@pytest.mark.usefixtures("wire_settings")
async def test_only_a_file_that_is_like_the_upload_is_taken(wire: WireServer, file: dict[str, Any]) -> None:
    """Name, size, purpose and time must all fit."""
    likeness = Likeness(provider="kimi", filename="a.txt", size=7, purpose="agent")
    wire.listing = listing_of(file)
    assert await find_upload(KIMI, likeness, seconds_ago=10) is None


@pytest.mark.usefixtures("wire_settings")
async def test_time_is_read_from_the_providers_clock(wire: WireServer) -> None:
    """A clock here that is wrong by hours makes neither old files new nor new files old."""
    likeness = Likeness(provider="kimi", filename="a.txt", size=7, purpose="agent")
    hours_ago = time.time() - 4 * 3600
    wire.listing = listing_of(
        listed_file("old", created_at=hours_ago - 60), listed_file("new", created_at=hours_ago - 5), date=hours_ago
    )
    assert await find_upload(KIMI, likeness, seconds_ago=10) == "new"


@pytest.mark.usefixtures("wire_settings")
async def test_of_several_files_the_oldest_free_one_is_taken(wire: WireServer) -> None:
    """Two uploads that both lost their answers get two different files."""
    likeness = Likeness(provider="kimi", filename="a.txt", size=7, purpose="agent")
    now = time.time()
    wire.listing = listing_of(
        listed_file("third", created_at=now + 2),
        listed_file("first", created_at=now),
        listed_file("second", created_at=now + 1),
    )
    found = [await find_upload(KIMI, likeness, seconds_ago=10) for _ in range(4)]
    assert found == ["first", "second", "third", None]


@pytest.mark.usefixtures("wire_settings")
async def test_pages_are_followed_to_their_end(wire: WireServer) -> None:
    """GLM lists a hundred at a time; the last of a page is where the next begins."""
    likeness = Likeness(provider="glm", filename="a.txt", size=7, purpose="agent")
    wire.listing = listing_of(listed_file("other", bytes=1), has_more=True)
    looking = asyncio.create_task(find_upload(GLM, likeness, seconds_ago=10))
    while len(wire.requests) < 2:  # noqa: ASYNC110  # the server only counts
        await asyncio.sleep(0)
    wire.listing = listing_of(listed_file("mine"))
    assert await looking == "mine"
    assert wire.requests[0].line == "GET /files?purpose=agent&limit=100 HTTP/1.1"
    assert wire.requests[1].line == "GET /files?purpose=agent&limit=100&after=other HTTP/1.1"


@pytest.mark.parametrize("listed", ['say "hi" \\o/.txt', "say %22hi%22 \\\\o/.txt", "say %22hi%22 \\o/.txt"])
def test_a_name_is_recognised_in_every_form_in_which_servers_list_it(listed: str) -> None:
    """Servers undo the form's escapes, a part of them, or none."""
    assert listed_name(listed) == listed_name('say "hi" \\o/.txt')


@pytest.mark.usefixtures("wire_settings")
async def test_a_neighbours_file_is_left_to_the_neighbour(wire: WireServer) -> None:
    """An upload that lost its answer waits for the answers of its like before it takes a file."""
    likeness = Likeness(provider="kimi", filename="a.txt", size=7, purpose="agent")
    wire.listing = listing_of(listed_file("neighbours"))
    async with awaiting_answer(likeness):
        looking = asyncio.create_task(find_upload(KIMI, likeness, seconds_ago=10))
        await wire.arrived.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        assert not looking.done()
        claim("kimi", "neighbours")
    assert await looking is None
