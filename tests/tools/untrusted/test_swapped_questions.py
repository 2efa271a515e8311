"""A user who may write below an allowed folder swaps files while they are asked about."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from migration import Side
from tests.tools.untrusted.conftest import Ground
from tools import files as validation
from tools import smart_file_query
from tools.providers.glm import glm_client
from tools.smart_file_query import SmartFileQueryTool
from tools.storage import get_storage
from tools.storage.local import LocalStorage

Swap = Callable[[Ground, Path], None]


def to_a_link(ground: Ground, path: Path) -> None:
    path.unlink()
    path.symlink_to(ground.secret)


def to_a_hard_link(ground: Ground, path: Path) -> None:
    path.unlink()
    path.hardlink_to(ground.secret)


def to_a_linked_folder(ground: Ground, path: Path) -> None:
    path.parent.rename(path.parent.with_name("aside"))
    path.parent.symlink_to(ground.outside)


def to_a_pipe(ground: Ground, path: Path) -> None:
    del ground
    path.unlink()
    os.mkfifo(path)


def to_a_device(ground: Ground, path: Path) -> None:
    del ground
    path.unlink()
    path.symlink_to("/dev/zero")


SWAPS: list[Swap] = [to_a_link, to_a_hard_link, to_a_linked_folder, to_a_pipe, to_a_device]
LINKED_SWAPS: list[Swap] = [to_a_link, to_a_linked_folder, to_a_pipe, to_a_device]


@pytest.fixture(params=[1000, 400_000], ids=["short", "long"])
def path(request: pytest.FixtureRequest, ground: Ground) -> Path:
    path = ground.root / "inner" / "report.txt"
    path.parent.mkdir()
    path.write_bytes(b"harmless " * (request.param // 9))
    return path


async def ask(path: Path, storage: Any = None, *, provider: str = "kimi") -> dict[str, Any]:
    given = {"file_path": str(path), "question": "What is the combination?", "provider": provider}
    answer: dict[str, Any] = json.loads(await SmartFileQueryTool(storage).execute(given))
    return answer


class Meddling(LocalStorage):
    """Swaps the file just before or after its copy is stored."""

    def __init__(self, storage: LocalStorage, swap: Callable[[], None], *, after: bool) -> None:
        super().__init__(storage.folder.root)
        self._swap: Callable[[], None] | None = swap
        self._after = after

    def _meddle(self, *, after: bool) -> None:
        if self._swap is not None and self._after is after:
            self._swap()
            self._swap = None

    def find_upload(self, **wanted: Any) -> Any:
        self._meddle(after=False)
        return super().find_upload(**wanted)

    def upload_file(self, *args: Any, **kwargs: Any) -> str:
        stored = super().upload_file(*args, **kwargs)
        self._meddle(after=True)
        return stored

    async def upload_file_streaming(self, *args: Any, **kwargs: Any) -> str:
        stored = await super().upload_file_streaming(*args, **kwargs)
        self._meddle(after=True)
        return stored


@pytest.mark.parametrize("swap", LINKED_SWAPS)
async def test_between_check_and_opening(
    swap: Swap, path: Path, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link, a pipe or a device that takes a checked file's place is not followed, not waited for, not read."""
    check = validation.validate_upload

    def check_then_swap(*args: Any, **kwargs: Any) -> Any:
        checked = check(*args, **kwargs)
        swap(ground, path)
        return checked

    monkeypatch.setattr(smart_file_query, "validate_upload", check_then_swap)
    answer = await ask(path)
    assert (answer["status"], answer["metadata"]) == ("error", {"error_type": "upload_failed"})
    assert str(path) in answer["content"]
    assert ground.relay.all_bytes == b""


@pytest.mark.parametrize("after", [False, True], ids=["before the copy", "after the copy"])
@pytest.mark.parametrize("swap", SWAPS)
async def test_between_opening_and_sending(
    swap: Swap, path: Path, ground: Ground, served: Side, *, after: bool
) -> None:
    """Whichever side serves, no byte of what took the file's place is sent or stored."""
    storage = get_storage()
    assert isinstance(storage, LocalStorage)
    answer = await ask(path, Meddling(storage, lambda: swap(ground, path), after=after))
    assert not ground.leaked()
    if answer["status"] == "success":  # it was short, and read before it was swapped
        assert (served, after) == (Side.CANDIDATE, True)
    else:
        assert answer["metadata"] == {"error_type": "upload_failed"}


@pytest.mark.parametrize("swap", SWAPS)
async def test_between_uploading_and_reading(
    swap: Swap, path: Path, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GLM's parser takes the file itself, after the upload; it is the same file, or none."""
    extract = glm_client.extract_text

    def swap_then_extract(*args: Any, **kwargs: Any) -> str:
        swap(ground, path)
        return extract(*args, **kwargs)

    monkeypatch.setattr(glm_client, "extract_text", swap_then_extract)
    answer = await ask(path, provider="glm")
    assert answer["metadata"] == {"error_type": "query_failed"}
    assert not ground.leaked()


async def test_a_folder_with_links_inside_is_still_asked_about(ground: Ground, path: Path) -> None:
    """Links that lead from one allowed place to another are followed, as ever."""
    link = ground.root / "shortcut"
    link.symlink_to(path.parent)
    answer = await ask(link / "report.txt")
    assert answer["status"] == "success"


async def test_the_descriptor_is_closed(ground: Ground, path: Path) -> None:
    """Whether there is an answer or an error, no file stays open."""
    await ask(path)
    await ask(ground.root / "missing.txt")
    await ask(ground.root)
    await ask(path, provider="nobody")
    open_files = [file.path for file in psutil.Process().open_files()]
    assert not [name for name in open_files if name.startswith(str(ground.root))]
