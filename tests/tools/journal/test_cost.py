"""What the journal costs an upload."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from tests.tools.journal.conftest import World
from tests.tools.journal.making import SECONDS, intent
from tests.tools.protected import upload_to_kimi
from tools.async_file_upload_refactored import cleanup_http_session, upload_via_supabase_gateway_kimi_async
from tools.journal.port import Intent
from tools.journal.sqlite import SqliteJournal
from tools.journal.upload import JournaledUpload, claimed, claimed_async

_UPLOADS, _AT_ONCE = 60, 30


def _upload(journal: SqliteJournal, wanted: Intent) -> JournaledUpload:
    return JournaledUpload(journal=journal, intent=wanted, timeout=1, began=time.monotonic())


def _noted(upload: JournaledUpload) -> None:
    upload.stored("copy")
    upload.delivered("file")
    upload.done(recorded=True)


def _median(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1e6


def test_what_a_blocking_upload_pays(world: World, say: Callable[[str], None]) -> None:
    """Everything that the journal does in an upload, beside a whole upload of 20 KB."""
    journal = SqliteJournal(world.folder / "journal.db")
    alone = []
    for number in range(_UPLOADS):
        begun = time.perf_counter()
        upload = _upload(journal, intent(b"%d" % number))
        claimed(upload)
        _noted(upload)
        alone.append(time.perf_counter() - begun)
    whole = []
    for number in range(_UPLOADS):
        path = _file(world, number)
        begun = time.perf_counter()
        upload_to_kimi(path, world.storage)
        whole.append(time.perf_counter() - begun)
    _say(say, _median(alone), _median(whole))
    assert journal.flush(SECONDS)
    assert journal.unfinished() == world.unfinished == []


async def test_what_an_asynchronous_upload_pays(world: World, say: Callable[[str], None]) -> None:
    """The same on an event loop: one after the other, and many at once, which share their writes."""
    journal = SqliteJournal(world.folder / "journal.db")

    async def journaled(name: str) -> float:
        begun = time.perf_counter()
        upload = _upload(journal, intent(name.encode()))
        await claimed_async(upload)
        _noted(upload)
        return time.perf_counter() - begun

    alone = [await journaled(f"alone {number}") for number in range(_UPLOADS)]
    begun = time.perf_counter()
    for turn in range(_UPLOADS // _AT_ONCE):
        await asyncio.gather(*(journaled(f"at once {turn} {number}") for number in range(_AT_ONCE)))
    at_once = (time.perf_counter() - begun) / _UPLOADS
    whole = []
    for number in range(_UPLOADS):
        path = _file(world, number)
        begun = time.perf_counter()
        await upload_via_supabase_gateway_kimi_async(path, world.storage)
        whole.append(time.perf_counter() - begun)
    _say(say, _median(alone), _median(whole))
    say(f"{_AT_ONCE} at once: {at_once * 1e6:.0f} us each")
    await cleanup_http_session()
    assert journal.flush(SECONDS)
    assert journal.unfinished() == world.unfinished == []


def _file(world: World, number: int) -> Path:
    return world.file(os.urandom(20_000), f"{number}.bin")


def _say(say: Callable[[str], None], alone: float, whole: float) -> None:
    say(f"the journal takes {alone:.0f} us of an upload of {whole:.0f} us: {100 * alone / whole:.1f} %")
