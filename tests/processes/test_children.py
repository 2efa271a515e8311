"""Children of every kind: multiprocessing's three, and those of a pool that its parent fills again and again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from tests.processes.conftest import Program
from tools.sandbox import RunningSandbox


def _whole(sandbox: RunningSandbox) -> list[str]:
    """The names of the files that arrived; each holds its own name, over and over."""
    files = sandbox.state()["kimi"]["files"]
    for each in files:
        name = each["filename"].removesuffix(".txt").encode()
        assert hashlib.sha256((name * 300_000)[:300_000]).hexdigest() == each["sha256"], name
    return sorted(each["filename"].removesuffix(".txt") for each in files)


def test_children_of_multiprocessing(
    program: Program, configured: RunningSandbox, set_share: Callable[[int], None]
) -> None:
    """Forked children go on with what their parent started; spawned ones and a fork server's start it themselves."""
    set_share(50)
    codes = program(
        """
        import multiprocessing
        from shim.application import AlreadyRunningError
        from tools.application import app
        def work(name, method):
            try:
                app.start()
                assert method != "fork"
            except AlreadyRunningError:
                assert method == "fork"
            upload(name, 300_000)
        if __name__ == "__main__":
            app.start()
            upload("parent", 300_000)
            processes = [
                multiprocessing.get_context(method).Process(target=work, args=(f"{method}-{number}", method))
                for method in ("fork", "spawn", "forkserver")
                for number in range(2 if method == "fork" else 1)
            ]
            for process in processes:
                process.start()
            for process in processes:
                process.join(40)
            app.stop()
            print(json.dumps([process.exitcode for process in processes]))
        """
    )
    assert codes == [0] * 4
    assert _whole(configured) == ["fork-0", "fork-1", "forkserver-0", "parent", "spawn-0"]


@pytest.mark.parametrize("percent", [0, 100])
def test_a_pool_of_children_as_celery_has_it(
    program: Program, configured: RunningSandbox, set_share: Callable[[int], None], percent: int
) -> None:
    """The parent starts, serves a call, and forks workers; each ends after two tasks and is replaced by another one.

    The parent's own connections go on serving it.
    """
    set_share(percent)
    said = program(
        """
        from tools.application import app
        app.start()
        upload("parent-0", 300_000)
        def worker(number):
            for task in range(2):
                upload(f"worker-{number}-{task}", 300_000)
            app.stop()
        codes = []
        for generation in range(2):
            children = [forked(lambda: worker(2 * generation + each)) for each in range(2)]
            upload(f"parent-{generation + 1}", 300_000)
            codes += ended(children)
        app.stop()
        print(json.dumps(codes))
        """
    )
    assert said == [0] * 4
    workers = [f"worker-{number}-{task}" for number in range(4) for task in range(2)]
    assert _whole(configured) == [*(f"parent-{number}" for number in range(3)), *workers]
