"""What is done with descriptors before there are connections."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

from tools.settings import get_settings
from tools.transport import connections as pool
from tools.transport.connections import cleanup_http_session, get_http_session, make_room

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how large the table is")


def _table_size() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("FDSize:")[2].split()[0])


def _open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_the_table_of_descriptors_has_room_for_as_many_as_are_wanted() -> None:
    """Afterwards the table is larger, and nothing more is open than before."""
    wanted, descriptors = _table_size() + 1, _open_descriptors()
    make_room(wanted)
    assert _table_size() >= wanted
    assert _open_descriptors() == descriptors


def test_more_room_than_the_limit_allows_is_not_wanted() -> None:
    """Asking for too much gets what there can be, and no error."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, 2048), most))
    try:
        make_room(1 << 40)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))


async def test_a_session_makes_room_for_all_its_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first connection there is room for all of them, their files, and second handles."""
    asked: list[int] = []
    monkeypatch.setattr(pool, "make_room", asked.append)
    await get_http_session()
    await cleanup_http_session()
    assert asked == [3 * get_settings().upload_connections]
