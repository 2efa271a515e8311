"""Many callers upload the same content at once, from threads and processes, on both sides: one file comes of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from tests.tools.journal.conftest import Upload, World
from tests.tools.journal.making import intent, opened
from tests.tools.protected import upload_to_kimi
from tools.async_file_upload_refactored import cleanup_http_session, upload_via_supabase_gateway_kimi_async
from tools.journal import upload as uploads
from tools.journal.port import Facts, Held, Opened, State
from tools.journal.sqlite import SqliteJournal
from tools.sandbox import FaultKind
from tools.settings import use_settings

_LONGER_THAN_BEGINNING = 3.0
"""Seconds that the provider takes, so that all callers begin before the first of them is answered."""

_CALLERS = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tests.tools.journal.test_crowd import ids_of_crowd
from tools.settings import get_settings
from tools.storage.local import LocalStorage
_, folder, here, same, different = sys.argv
sys.stdin.readline()
files = [Path(folder) / "same.txt"] * int(same) + [Path(folder) / f"{here}-{n}.txt" for n in range(int(different))]
print(json.dumps(ids_of_crowd(files, LocalStorage(Path(folder).parent / "storage"))))
"""


def ids_of_crowd(files: list[Path], storage: Any) -> list[str]:
    """Upload all at once, every second one on an event loop that they share, the others in threads of their own."""

    async def awaited() -> list[dict[str, Any]]:
        uploads = [upload_via_supabase_gateway_kimi_async(path, storage) for path in files[::2]]
        try:
            return await asyncio.gather(*uploads)
        finally:
            await cleanup_http_session()

    with ThreadPoolExecutor(len(files)) as pool:
        threads = [pool.submit(copy_context().run, upload_to_kimi, path, storage) for path in files[1::2]]
        results = asyncio.run(awaited())
        results += [thread.result() for thread in threads]
    return [result["kimi_file_id"] for result in results]


def _crowd(world: World, *, same: int, different: int, processes: int, begin: float) -> list[list[str]]:
    """The ids that the callers of each process were given; first those for the content that all have."""
    world.file(b"the same for all", "same.txt")
    for here in range(processes):
        for number in range(different):
            world.file(b"%d %d" % (here, number), f"{here}-{number}.txt")
    world.sandbox.inject(FaultKind.LATENCY, "kimi", "files.create", seconds=begin, times=None)
    environment = {
        "KIMI_API_URL": world.sandbox.urls["kimi"],
        "KIMI_API_KEY": "kimi-key",
        "SHIM_HOME": str(world.settings.shim_home),
        "PATH": "",
    }
    children = [
        subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, "-c", _CALLERS, str(world.folder), str(here), str(same), str(different)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for here in range(processes)
    ]
    time.sleep(0.1)
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    answers = [child.communicate(timeout=120)[0] for child in children]
    assert [child.returncode for child in children] == [0] * processes
    return [json.loads(answer) for answer in answers]


def _ids(given: list[list[str]], *, same: int) -> tuple[set[str], list[str]]:
    """The ids for the content that all have, and those for the others'."""
    shared, others = set(), []
    for ids in given:
        half = len(ids[: (len(ids) + 1) // 2])
        on_loop, in_threads = ids[:half], ids[half:]
        shared |= {*on_loop[: (same + 1) // 2], *in_threads[: same // 2]}
        others += on_loop[(same + 1) // 2 :] + in_threads[same // 2 :]
    return shared, others


def _check(
    world: World, given: list[list[str]], *, same: int, say: Callable[[str], None], late_rows: bool = False
) -> None:
    shared, others = _ids(given, same=same)
    contents = [file["sha256"] for file in world.held]
    assert len(shared) == 1
    assert len(set(others)) == len(others)
    assert {file["id"] for file in world.held} == shared | set(others)
    assert len(contents) == len(set(contents)) == len(others) + 1
    left = [entry.facts.error for entry in world.unfinished]
    assert left == (["the row could not be written"] * len(left) if late_rows else [])
    callers = f"{sum(map(len, given))} callers in {len(given)} processes"
    say(f"{callers}, {len(contents)} contents: {len(contents)} files; {len(left)} rows left to recovery")


def test_processes_share_one_file_of_a_content(world: World, say: Callable[[str], None]) -> None:
    """Both sides, threads and processes: whatever overlaps has one file, and what differs has its own."""
    given = _crowd(world, same=4, different=4, processes=2, begin=_LONGER_THAN_BEGINNING)
    _check(world, given, same=4, say=say)


@pytest.mark.thorough
def test_two_hundred_callers_in_four_processes(world: World, say: Callable[[str], None]) -> None:
    """The same, with 200 callers in each of four processes.

    So many write rows at once that the embedded table keeps some of them waiting for too long: recovery writes those.
    """
    given = _crowd(world, same=150, different=50, processes=4, begin=15.0)
    _check(world, given, same=150, say=say, late_rows=True)


def test_two_hundred_threads_share_one_file(world: World, say: Callable[[str], None]) -> None:
    """200 callers of one process, half of them on an event loop."""
    world.sandbox.inject(FaultKind.LATENCY, "kimi", "files.create", seconds=_LONGER_THAN_BEGINNING)
    ids = ids_of_crowd([world.file()] * 200, world.storage)
    assert [file["id"] for file in world.held] == [ids[0]]
    assert set(ids) == {ids[0]}
    assert world.unfinished == []
    say("200 callers, one content: 1 file")


def test_who_shares_a_file_keeps_a_copy_and_writes_no_row(world: World) -> None:
    """The one that was sent has its row; the other's copy lies under its own name."""
    world.sandbox.inject(FaultKind.LATENCY, "kimi", "files.create", seconds=_LONGER_THAN_BEGINNING)
    files = [world.file(name="one.txt"), world.file(name="two.txt")]
    ids = ids_of_crowd(files, world.storage)
    assert len(set(ids)) == 1
    assert all(world.storage.folder.path_of(f"kimi-gateway/{file.name}").exists() for file in files)
    row = world.storage.find_upload(sha256=world.held[0]["sha256"], provider="kimi")
    assert row is not None
    assert row.filename == world.held[0]["filename"]


def test_calls_that_do_not_overlap_upload_each(world: World, upload: Upload) -> None:
    """The gateway function does what it always did: it uploads."""
    ids = [upload(world.file(), world.storage)["kimi_file_id"] for _ in range(3)]
    assert len(set(ids)) == 3
    assert sorted(file["id"] for file in world.held) == sorted(ids)


def test_after_a_failure_who_waited_tries_himself(world: World) -> None:
    """Each caller gets an answer of his own, or a file that is there."""
    world.sandbox.inject(FaultKind.QUOTA_EXCEEDED, "kimi", "files.create", times=1)

    async def both() -> list[Any]:
        uploads = [upload_via_supabase_gateway_kimi_async(world.file(), world.storage) for _ in range(5)]
        try:
            return list(await asyncio.gather(*uploads, return_exceptions=True))
        finally:
            await cleanup_http_session()

    results = asyncio.run(both())
    ids = {result["kimi_file_id"] for result in results if isinstance(result, dict)}
    assert sum(isinstance(result, RuntimeError) for result in results) == 1
    assert ids == {file["id"] for file in world.held}
    assert len(ids) == 1


def test_waiting_for_another_upload_is_bounded(world: World, upload: Upload) -> None:
    """After `UPLOAD_TIMEOUT` the caller is told so, and nothing was sent."""
    content = b"held by another"
    other = intent(content, account=world.sandbox.urls["kimi"])
    assert opened(world.journal, other) == Opened()
    with (
        use_settings(world.settings.model_copy(update={"upload_timeout": 0.3})),
        pytest.raises(RuntimeError, match=r"via SDK: another upload of the same content did not end within 0\.3 s"),
    ):
        upload(world.file(content), world.storage)
    assert world.held == []
    assert [entry.intent for entry in world.unfinished] == [other]


def test_another_process_shares_its_file(world: World, upload: Upload) -> None:
    """What another owner has finished meanwhile is the answer, and nothing is sent."""
    content = b"held by another"
    other = intent(content, account=world.sandbox.urls["kimi"])
    elsewhere = SqliteJournal(world.settings.uploads_db)
    assert opened(elsewhere, other) == Opened()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(copy_context().run, upload, world.file(content), world.storage)
        time.sleep(0.2)
        assert not waiting.done()
        assert isinstance(opened(elsewhere, intent(content, account=world.sandbox.urls["kimi"])), Held)
        elsewhere.close(other.upload_id, State.DONE, Facts(provider_file_id="their-file"))
        assert waiting.result(20)["kimi_file_id"] == "their-file"
    assert world.held == []


@pytest.mark.parametrize("trouble", ["unusable", "late", "overrun"])
def test_without_a_journal_uploads_go_on(
    world: World, upload: Upload, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a bound the upload goes on, is counted, and leaves no claim behind."""
    place = world.folder.parent / "other" / "journal.db"
    journal = SqliteJournal(place)
    monkeypatch.setattr(uploads, "get_journal", lambda _: journal)
    opened(journal, intent(b"first", upload_id="first"))
    journal.close("first", State.DONE)
    journal.flush(5)
    if trouble == "unusable":
        monkeypatch.setattr(journal._writer, "_commit", _full)
    elif trouble == "late":
        monkeypatch.setattr(uploads, "OPEN_SECONDS", 0.2)
        monkeypatch.setattr(journal._writer, "_commit", _stuck(journal._writer._commit))
    else:
        monkeypatch.setattr(journal._writer, "_put", lambda _, **__: False)
    assert upload(world.file(), world.storage)["kimi_file_id"] == world.held[0]["id"]
    monkeypatch.undo()
    if trouble != "overrun":  # there was no room for the note, either
        assert journal.status().unjournaled == 1
    assert journal.flush(5)
    assert journal.unfinished() == []


def _full(_pieces: object, **_: object) -> None:
    raise OSError(28, "No space left on device")


def _stuck(commit: Callable[..., None]) -> Callable[..., None]:
    """A transaction that succeeds after every caller has stopped waiting for it."""

    def commit_late(pieces: object, **options: object) -> None:
        time.sleep(0.6)
        commit(pieces, **options)

    return commit_late
