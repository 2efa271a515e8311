"""The memory that files are read into."""

from __future__ import annotations

import ctypes
import mmap
from contextlib import ExitStack

import pytest

from tools.transport.reading import BUFFER_BYTES, CROWDED_BUFFER_BYTES, IDLE_BUFFERS, LARGE_BUFFERS, Buffers


def _address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def test_a_buffer_begins_with_a_page() -> None:
    """Reading into memory that does not is several times slower on some processors."""
    with Buffers().lend() as view:
        assert _address(view) % mmap.PAGESIZE == 0


def test_a_buffer_is_used_again() -> None:
    """The next reader gets the memory of the last one."""
    buffers = Buffers()
    with buffers.lend() as view:
        first = _address(view)
    with buffers.lend() as view:
        assert _address(view) == first


def test_nobody_else_has_a_lent_buffer() -> None:
    """Two readers never share memory."""
    buffers = Buffers()
    with buffers.lend() as one, buffers.lend() as other:
        assert _address(one) != _address(other)


def test_the_buffer_of_a_failed_borrower_is_not_lent_again() -> None:
    """A broken connection may still refer to it."""
    buffers = Buffers()
    kept: list[memoryview] = []

    def fail() -> None:
        with buffers.lend() as view:
            kept.append(view[:])
            raise ConnectionError

    with pytest.raises(ConnectionError):
        fail()
    with buffers.lend() as view:
        assert _address(view) != _address(kept[0])


def test_many_readers_get_small_buffers() -> None:
    """A hundred uploads at once take a bounded share of memory, and afterwards next to nothing."""
    buffers = Buffers()
    with ExitStack() as stack:
        sizes = [len(stack.enter_context(buffers.lend())) for _ in range(100)]
    assert sizes == [BUFFER_BYTES] * LARGE_BUFFERS + [CROWDED_BUFFER_BYTES] * (100 - LARGE_BUFFERS)
    assert {len(idle) for idle in buffers._idle.values()} == {IDLE_BUFFERS}
    with buffers.lend() as view:
        assert len(view) == BUFFER_BYTES
