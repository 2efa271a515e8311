"""A path that is uploaded may be anything, and may become something else while it is looked at."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.monolith import SetEnvironment
from tests.tools.parity import PROVIDERS, Meddling, Provider, outcome_of, run_new
from tests.tools.untrusted.conftest import SECRET, Ground
from tools.engine import gateway
from tools.providers.glm import glm_files
from tools.providers.kimi import kimi_files
from tools.storage import get_storage
from tools.transport.errors import FileChangedError
from tools.transport.reading import FileSource, measure, open_content

Swap = Callable[[Path], None]
LIMIT = 500_000


def to_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_a_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def to_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_something_large(path: Path) -> None:
    path.unlink()
    with path.open("wb") as file:
        file.truncate(50 * LIMIT)


SWAPS: list[Swap] = [to_a_pipe, to_a_device, to_a_folder, to_something_large]


def whole(source: FileSource) -> bytes:
    async def main() -> bytes:
        return b"".join([piece async for piece in source.chunks()])

    return asyncio.run(main())


@pytest.fixture
def path(ground: Ground, set_environment: SetEnvironment) -> Path:
    set_environment(KIMI_MAX_BYTES=str(LIMIT), GLM_MAX_BYTES=str(LIMIT))
    path = ground.root / "report.txt"
    path.write_bytes(b"harmless " * 50_000)
    return path


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_what_was_swapped_before_it_was_opened_is_refused(
    provider: Provider,
    swap: Swap,
    path: Path,
    ground: Ground,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What took a checked file's place is looked at once more; both sides refuse it, without waiting or sending."""
    for module in (kimi_files, glm_files, gateway):
        check = module.validate_upload

        def check_then_swap(*args: Any, check: Any = check, **kwargs: Any) -> Any:
            checked = check(*args, **kwargs)
            swap(path)
            return checked

        monkeypatch.setattr(module, "validate_upload", check_then_swap)
    content = path.read_bytes()
    outcomes = []
    for run in (provider.legacy, lambda *args: run_new(provider, *args)):
        outcomes.append(outcome_of(lambda run=run: run(path, get_storage(), provider.purpose)))  # type: ignore[misc]  # bound at once
        path.rmdir() if path.is_dir() else path.unlink()
        path.write_bytes(content)
    texts = {text for _, text in outcomes}
    assert len(texts) == 1
    assert all(issubclass(kind, ValueError | OSError) for kind, _ in outcomes)
    assert ground.relay.all_bytes == b""


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_what_took_the_files_place_after_the_copy_is_not_sent(provider: Provider, path: Path, ground: Ground) -> None:
    """The new implementation sends what it has checked, hashed and stored, and not a byte of anything else."""

    def swap() -> None:
        path.unlink()
        path.symlink_to(ground.secret)

    kind, text = outcome_of(lambda: run_new(provider, path, Meddling(get_storage(), swap), provider.purpose))
    assert (kind, "was changed while it was uploaded" in text) == (RuntimeError, True)
    assert not ground.leaked()


@pytest.mark.parametrize("way", ["chunks", "whole"])
@pytest.mark.parametrize("looks_like", ["the same time", "the same time and a link"])
def test_a_rewriting_that_hides_is_found_by_the_hash(tmp_path: Path, way: str, looks_like: str) -> None:
    """A writer of a file may set its time of writing back; the time of that is the kernel's."""
    path = tmp_path / "report.txt"
    path.write_bytes(SECRET)
    was = path.stat()
    source = measure(path)
    with path.open("r+b") as file:
        file.write(b"T")
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    if "link" in looks_like:
        path.rename(tmp_path / "moved.txt")
        path.symlink_to(tmp_path / "moved.txt")
    assert path.stat().st_mtime_ns == was.st_mtime_ns
    with pytest.raises(FileChangedError):
        whole(source) if way == "chunks" else asyncio.run(source.whole())


def test_new_rights_or_names_are_no_change(tmp_path: Path) -> None:
    """What moves only the kernel's time is looked at, and found to be the same."""
    path = tmp_path / "report.txt"
    path.write_bytes(SECRET)
    source = measure(path)
    path.chmod(0o600)
    path.with_name("another name.txt").hardlink_to(path)
    assert hashlib.sha256(whole(source)).hexdigest() == source.sha256
    assert asyncio.run(source.whole()) == SECRET


async def test_another_file_is_not_read_at_all(tmp_path: Path) -> None:
    """Not even its first piece is handed out."""
    path = tmp_path / "report.txt"
    path.write_bytes(b"harmless " * 50_000)
    content = await open_content(path)
    other = tmp_path / "other.txt"
    other.write_bytes(SECRET)
    other.replace(path)
    with pytest.raises(FileChangedError):
        await anext(content.chunks(10))
