"""The background loop is the fastest there is, and the work on it is the same."""

from __future__ import annotations

import asyncio
import sys

import pytest
import uvloop

from migration import Runtime
from shim.installation import fastest_loop


def test_uvloop_is_used_where_it_is_installed() -> None:
    """Nothing has to be configured."""
    loop = fastest_loop()
    assert isinstance(loop, uvloop.Loop)
    loop.close()


def test_without_uvloop_the_standard_loop_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is optional."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    loop = fastest_loop()
    assert isinstance(loop, asyncio.SelectorEventLoop)
    loop.close()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_candidates_run_on_the_loop_that_is_given(new_loop: type[asyncio.AbstractEventLoop]) -> None:
    """The core takes any event loop."""

    async def which() -> str:
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    runtime = Runtime(new_loop=new_loop)
    try:
        assert runtime.loop.run(which) == new_loop.__module__.partition(".")[0]
    finally:
        runtime.close()
