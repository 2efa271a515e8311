from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.async_file_upload_refactored import read_file_async, stream_file_chunks
from tools.transport.errors import FileChangedError, NotAFileError
from tools.transport.loops import run_in_thread
from tools.transport.reading import SHORT_FILE_BYTES, FileContent, open_content, open_source

MakeFile = Callable[[str, bytes], Path]
LONG = os.urandom(SHORT_FILE_BYTES * 3 + 17)


async def _all(content: FileContent, chunk_size: int = 64 * 1024) -> bytes:
    return b"".join([chunk async for chunk in content.chunks(chunk_size)])


@pytest.mark.parametrize("size", [0, 1, SHORT_FILE_BYTES - 1, SHORT_FILE_BYTES, SHORT_FILE_BYTES + 1, len(LONG)])
async def test_a_source_has_size_hash_and_content_of_its_file(make_file: MakeFile, size: int) -> None:
    """Whatever its length, a file is hashed and handed out as it is."""
    source = await open_source(make_file("a.bin", LONG[:size]))
    assert (source.name, source.size, source.sha256) == ("a.bin", size, hashlib.sha256(LONG[:size]).hexdigest())
    assert await _all(source) == LONG[:size]


@pytest.mark.parametrize("size", [1000, len(LONG)])
async def test_no_chunk_is_longer_than_asked_for(make_file: MakeFile, size: int) -> None:
    """Pieces bound the memory that an upload takes."""
    content = await open_content(make_file("a.bin", LONG[:size]))
    assert max([len(chunk) async for chunk in content.chunks(100)][:-1]) == 100


async def test_a_short_file_is_read_once(make_file: MakeFile) -> None:
    """A short file is held: it can vanish after it was opened."""
    path = make_file("a.txt", b"short")
    source = await open_source(path)
    path.unlink()
    assert await _all(source) == b"short"


async def test_a_shrunken_file_is_noticed(make_file: MakeFile) -> None:
    """A file that became shorter cannot be sent as it was."""
    path = make_file("a.bin", LONG)
    source = await open_source(path)
    os.truncate(path, len(LONG) - 1)
    with pytest.raises(FileChangedError, match=r"a\.bin was changed"):
        await _all(source)


async def test_a_grown_file_is_handed_out_as_it_was(make_file: MakeFile) -> None:
    """What was appended since is not part of the upload; a reader that reads at once does not see it either."""
    path = make_file("a.log", LONG)
    source = await open_source(path)
    with path.open("ab") as file:
        file.write(b"more")
    assert await _all(source) == LONG


async def test_a_rewritten_file_is_noticed_before_its_last_piece(make_file: MakeFile) -> None:
    """Other content of the same or a greater length is never passed off as the content that was hashed."""
    path = make_file("a.bin", LONG)
    source = await open_source(path)
    path.write_bytes(b"x" * (len(LONG) + 5))
    chunks = source.chunks(64 * 1024)
    received = [await anext(chunks) for _ in range(len(LONG) // (64 * 1024))]
    with pytest.raises(FileChangedError):
        await anext(chunks)
    assert 0 < sum(map(len, received)) < len(LONG)


async def test_a_replaced_file_is_noticed(make_file: MakeFile) -> None:
    """Another file under the same path is another file, even with the same beginning."""
    path = make_file("a.bin", LONG)
    source = await open_source(path)
    make_file("b.bin", LONG + b"more").replace(path)
    with pytest.raises(FileChangedError):
        await _all(source)


async def test_without_a_hash_any_change_counts(make_file: MakeFile) -> None:
    """Growth cannot be told from rewriting when nothing was hashed, so it is refused."""
    path = make_file("a.log", LONG)
    content = await open_content(path)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(FileChangedError):
        await _all(content)


async def test_a_vanished_file_is_an_os_error_with_its_path(make_file: MakeFile) -> None:
    """A long file that is gone is reported as the system reports it."""
    path = make_file("a.bin", LONG)
    source = await open_source(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: '.*a\.bin'"):
        await _all(source)


async def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    """Opening a pipe blocks until there is a writer; so it is not opened."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(NotAFileError):
            await open_content(path)
        with pytest.raises(NotAFileError):
            await read_file_async(path)


@pytest.mark.parametrize("size", [0, 5, len(LONG)])
async def test_read_file_async_returns_the_content(make_file: MakeFile, size: int) -> None:
    """The whole file, as bytes."""
    assert await read_file_async(str(make_file("a.bin", LONG[:size]))) == LONG[:size]


async def test_stream_file_chunks_yields_the_content_in_pieces(make_file: MakeFile) -> None:
    """The pieces have the asked-for size, the last one what is left."""
    path = make_file("a.bin", LONG)
    chunks = [chunk async for chunk in stream_file_chunks(path, chunk_size=300_000)]
    assert b"".join(chunks) == LONG
    assert [len(chunk) for chunk in chunks] == [300_000, 300_000, len(LONG) - 600_000]


async def test_stream_file_chunks_refuses_a_senseless_size(make_file: MakeFile) -> None:
    """A size below one byte would never end."""
    with pytest.raises(ValueError, match="chunk_size must be at least 1 byte, not 0"):
        await anext(stream_file_chunks(make_file("a", b"a"), chunk_size=0))


async def test_a_cancelled_thread_is_waited_for() -> None:
    """Cancellation is reported when the work has ended, and even its failure is then accounted for."""
    loop = asyncio.get_running_loop()
    started, release, ended = asyncio.Event(), asyncio.Event(), []

    def work() -> None:
        loop.call_soon_threadsafe(started.set)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        ended.append(True)
        raise RuntimeError("no caller is left to hear this")

    task = asyncio.create_task(run_in_thread(work))
    await started.wait()
    task.cancel()
    loop.call_later(0.01, release.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]
