"""Connections of a parent that goes on working after a fork."""

from __future__ import annotations

import pytest

from tests.processes.conftest import Program
from tools.sandbox import RunningSandbox


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_end_of_a_child_leaves_the_connections_of_its_parent(
    program: Program, configured: RunningSandbox, loop: str
) -> None:
    """A child ends as interpreters do, freeing what it can; its parent's next request uses the pooled connection.

    The child shares the selector of its parent's event loop. Closing a connection there would take it out for both.
    """
    statuses = program(
        """
        import asyncio, ctypes, importlib
        from tools.transport.connections import get_http_session
        loop = importlib.import_module(sys.argv[1]).new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()
        async def ask():
            session = await get_http_session()
            async with session.get(sys.argv[2] + "/faults") as answer:
                return answer.status
        def answer():
            return asyncio.run_coroutine_threadsafe(ask(), loop).result(5)
        statuses = [answer()]
        if not (child := os.fork()):
            ctypes.pythonapi.Py_FinalizeEx()
            os._exit(0)
        os.waitpid(child, 0)
        print(json.dumps([*statuses, answer()]))
        """,
        loop,
        configured.control_url,
    )
    assert statuses == [200, 200]
