from __future__ import annotations

import asyncio
import multiprocessing
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tools.storage.rows import ROW
from tools.storage.local import LocalStorage
from tools.storage.port import LocalStorageError
from tools.transport.errors import FileChangedError
from tools.transport.reading import FileSource, open_source

NAME = "kimi-gateway/a.txt"


def store(root: Path, data: bytes) -> str:
    return LocalStorage(root).upload_file(NAME, data, "a.txt", None, "user_upload")


def record(root: Path, number: int) -> None:
    LocalStorage(root).record_upload(replace(ROW, provider_file_id=str(number)))


@pytest.fixture(params=["threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "threads":
        with ThreadPoolExecutor(16) as threads:
            yield threads
    else:
        with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as processes:
            yield processes


def test_many_store_under_one_name_at_once(executor: Executor, tmp_path: Path) -> None:
    """Each content is kept once and whole, however often and from wherever it is stored."""
    root = tmp_path / "storage"
    contents = [bytes([65 + number % 10]) * 50_000 for number in range(60)]
    ids = list(executor.map(store, [root] * len(contents), contents))
    assert len(set(ids)) == 10
    assert all(ids[number] == ids[number % 10] for number in range(60))
    kept = sorted(file.read_bytes() for file in (root / "objects" / "kimi-gateway").iterdir())
    assert kept == sorted(set(contents))
    assert not list((root / "incoming").iterdir())


def test_many_write_rows_at_once(executor: Executor, tmp_path: Path) -> None:
    """No row is lost, also while the database is created."""
    root = tmp_path / "storage"
    list(executor.map(record, [root] * 60, range(60)))
    storage = LocalStorage(root)
    for number in range(60):
        storage.record_upload(replace(ROW, provider_file_id=str(number), upload_status="deleted"))
    assert storage.find_upload(sha256=ROW.sha256, provider="kimi") is None
    with closing(sqlite3.connect(storage.rows_file)) as connection:
        assert connection.execute("SELECT count(*) FROM provider_file_uploads").fetchone() == (60,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_everything_is_private(local: LocalStorage) -> None:
    """Other users of the machine see neither copies nor rows, whatever the umask."""
    before = os.umask(0)
    try:
        local.upload_file(NAME, b"one", "a.txt", None, "user_upload")
        local.record_upload(ROW)
    finally:
        os.umask(before)
    for path in [local.folder.root, *local.folder.root.rglob("*")]:
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_a_relative_name_of_full_length_fits(local: LocalStorage) -> None:
    """A name as long as the file system allows is stored, and so is its alternative."""
    name = "kimi-gateway/" + "ü" * 125 + ".txt"
    first = local.upload_file(name, b"one", "", None, "user_upload")
    second = local.upload_file(name, b"two", "", None, "user_upload")
    assert first != second


def test_a_name_that_is_no_utf_8_is_stored(local: LocalStorage) -> None:
    """Linux allows any bytes in a name."""
    assert local.upload_file("kimi-gateway/" + os.fsdecode(b"\xff.txt"), b"one", "", None, "user_upload")


async def test_a_folder_that_cannot_be_used_is_a_clear_error(tmp_path: Path) -> None:
    """Both sides say the same, with the storage's own error."""
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "source").write_bytes(b"one")
    storage = LocalStorage(tmp_path / "file")
    with pytest.raises(LocalStorageError, match=r"store 'kimi-gateway/a.txt'") as blocking:
        storage.upload_file(NAME, b"one", "a.txt", None, "user_upload")
    with pytest.raises(LocalStorageError) as streaming:
        await storage.upload_file_streaming(NAME, await open_source(tmp_path / "source"), "a.txt", None, "user_upload")
    assert str(blocking.value) == str(streaming.value)
    with pytest.raises(LocalStorageError, match="record the upload"):
        storage.record_upload(ROW)
    with pytest.raises(LocalStorageError, match="look up the upload"):
        storage.find_upload(sha256="a", provider="kimi")


async def test_a_file_that_changes_leaves_nothing(local: LocalStorage, tmp_path: Path) -> None:
    """The source's own error reaches the caller, and no half copy stays."""
    file = tmp_path / "source"
    file.write_bytes(os.urandom(3_000_000))
    source = await open_source(file)
    file.write_bytes(os.urandom(1_500_000))
    with pytest.raises(FileChangedError):
        await local.upload_file_streaming(NAME, source, "a.txt", None, "user_upload")
    assert not list(local.folder.incoming.iterdir())
    assert not list(local.folder.objects.iterdir())


async def test_a_short_file_is_stored_in_one_visit_to_a_thread(
    local: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its content is in memory already, and each switch between threads costs more than writing it."""
    file = tmp_path / "source"
    file.write_bytes(b"short")
    source, loop, visits = await open_source(file), asyncio.get_running_loop(), 0
    run_in_executor = loop.run_in_executor

    def counted(*args: Any) -> Any:
        nonlocal visits
        visits += 1
        return run_in_executor(*args)

    monkeypatch.setattr(loop, "run_in_executor", counted)
    await local.upload_file_streaming(NAME, source, "a.txt", None, "user_upload")
    assert visits == 1
    assert (local.folder.objects / NAME).read_bytes() == b"short"


def test_writing_a_row_ends_no_lock_of_another_connection(local: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process loses its locks on a file when it closes any handle of it, so nothing but SQLite opens the database."""
    local.record_upload(ROW)
    opened: list[object] = []
    open_file = os.open

    def noted(path: Any, flags: int, mode: int = 0o777) -> int:
        descriptor = open_file(path, flags, mode)
        opened.append(path)
        return descriptor

    monkeypatch.setattr(os, "open", noted)
    local.record_upload(ROW)
    assert opened == []


async def test_a_cancelled_upload_leaves_nothing(
    local: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelling in the middle of a copy removes what was written of it."""
    file = tmp_path / "source"
    file.write_bytes(os.urandom(1_000_000))
    halfway = asyncio.Event()

    async def chunks(_: FileSource) -> AsyncIterator[bytes]:
        yield b"x" * 500_000
        halfway.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(FileSource, "chunks", chunks)
    upload = asyncio.create_task(
        local.upload_file_streaming(NAME, await open_source(file), "a.txt", None, "user_upload")
    )
    await halfway.wait()
    assert list(local.folder.incoming.iterdir())
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert not list(local.folder.incoming.iterdir())
    assert not list(local.folder.objects.iterdir())


def test_what_a_dead_process_left_is_swept(local: LocalStorage) -> None:
    """Old unfinished copies go; what another process is writing right now stays."""
    local.folder.prepare()
    old, young = local.folder.incoming / "old", local.folder.incoming / "young"
    for copy in (old, young):
        copy.write_bytes(b"half")
    os.utime(old, (0, 0))
    local.upload_file(NAME, b"one", "a.txt", None, "user_upload")
    assert not old.exists()
    assert young.exists()


def test_a_damaged_database_is_a_clear_error(local: LocalStorage) -> None:
    """A file that is no database is reported, not replaced."""
    local.folder.prepare()
    database = local.folder.root / "uploads.db"
    database.write_bytes(b"no database" * 1000)
    with pytest.raises(LocalStorageError, match="not a database"):
        local.record_upload(ROW)
    assert database.read_bytes() == b"no database" * 1000
