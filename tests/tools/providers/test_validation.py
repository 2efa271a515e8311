from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tools.files import validate_upload


@pytest.mark.parametrize("size", [0, 1, 9, 10])
def test_a_regular_file_up_to_the_limit_passes(tmp_path: Path, size: int) -> None:
    """The limit itself is allowed."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * size)
    file = validate_upload(str(path), limit=10)
    assert (file.path, file.name, file.size) == (path, "a.txt", size)


def test_one_byte_over_the_limit_is_refused(tmp_path: Path) -> None:
    """The error names the file, its size and the limit."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 11)
    with pytest.raises(ValueError, match=rf"^File too large: {path} has 11 bytes, the limit is 10 bytes$"):
        validate_upload(path, limit=10)


def test_a_link_to_a_file_is_the_file_under_the_links_name(tmp_path: Path) -> None:
    """Symbolic links are followed; the name stays the caller's."""
    (tmp_path / "target.bin").write_bytes(b"abc")
    (tmp_path / "link.txt").symlink_to(tmp_path / "target.bin")
    file = validate_upload(tmp_path / "link.txt", limit=10)
    assert (file.name, file.size) == ("link.txt", 3)


@pytest.mark.parametrize("name", ["missing.txt", "file.txt/child", "loop", "x" * 300, "dangling"])
def test_what_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    """A missing file is reported as such, however the system says it."""
    (tmp_path / "file.txt").write_text("abc")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"^File not found: "):
        validate_upload(tmp_path / name, limit=10)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    """An empty path is the current directory."""
    for path in (tmp_path, ""):
        with pytest.raises(ValueError, match=r"^Path is a directory, not a file: "):
            validate_upload(path, limit=10)


def test_what_is_no_regular_file_is_refused_without_opening_it(tmp_path: Path) -> None:
    """A pipe without a writer does not block, nor does a socket or a device."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/null")):
            with pytest.raises(ValueError, match=r"^Not a regular file: "):
                validate_upload(path, limit=10)


def test_a_nul_character_is_refused() -> None:
    """Such a path cannot exist."""
    with pytest.raises(ValueError, match="null byte"):
        validate_upload("a\0b", limit=10)
