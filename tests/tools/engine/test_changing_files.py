"""Files that change, vanish or grow between the copy and the upload."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tools.engine.support import Waits, WireServer, our_error
from tools.async_file_upload_refactored import (
    upload_via_supabase_gateway_kimi_async,
)
from tools.providers.spec import KIMI
from tools.settings import MEGABYTE, Settings
from tools.storage.local import LocalStorage
from tools.transport.errors import FileChangedError
from tools.transport.reading import FileSource

MakeFile = Callable[[str, bytes], Path]
Legacy = Callable[..., dict[str, Any]]


class ChangingStorage(LocalStorage):
    """Runs something between the storing and the provider's turn."""

    def __init__(self, root: Path, change: Callable[[], object]) -> None:
        super().__init__(root)
        self.change = change

    async def upload_file_streaming(self, file_path: str, source: FileSource, *args: Any, **kwargs: Any) -> str:
        result = await super().upload_file_streaming(file_path, source, *args, **kwargs)
        self.change()
        return result


async def test_a_file_that_changes_before_the_provider_is_not_sent_whole(
    wire: WireServer,
    wire_settings: Settings,  # noqa: ARG001  # in force
    make_file: MakeFile,
    tmp_path: Path,
    waits: Waits,
) -> None:
    """The form is left incomplete, so the provider makes nothing; it is neither looked for nor sent again."""
    path = make_file("a.bin", os.urandom(2 * MEGABYTE))
    storage = ChangingStorage(tmp_path / "s", lambda: os.truncate(path, MEGABYTE))
    error = await our_error(KIMI, path, storage, waits)
    assert str(error).startswith("Failed to upload to Kimi via SDK: a.bin was changed")
    assert isinstance(error.__cause__, FileChangedError)
    assert wire.requests == []
    assert waits.seconds == []


async def test_a_file_that_vanishes_before_the_provider_reads_as_by_legacy(
    wire_settings: Settings,  # noqa: ARG001  # in force
    make_file: MakeFile,
    tmp_path: Path,
    waits: Waits,
) -> None:
    """The system's message stands behind the known prefix."""
    path = make_file("a.bin", os.urandom(2 * MEGABYTE))
    error = await our_error(KIMI, path, ChangingStorage(tmp_path / "s", path.unlink), waits)
    assert str(error) == f"Failed to upload to Kimi via SDK: [Errno 2] No such file or directory: '{path}'"


async def test_a_growing_log_is_uploaded_as_it_was(
    wire: WireServer,
    wire_settings: Settings,  # noqa: ARG001  # in force
    make_file: MakeFile,
    tmp_path: Path,
) -> None:
    """Appending does not disturb: size, hash and bytes are those of the moment at which it was opened."""
    content = os.urandom(2 * MEGABYTE)
    path = make_file("a.log", content)

    def append() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    result = await upload_via_supabase_gateway_kimi_async(str(path), ChangingStorage(tmp_path / "s", append))
    assert result["size_bytes"] == len(content)
    [request] = wire.requests
    assert content in request.body
    assert b"more\r\n--" not in request.body
