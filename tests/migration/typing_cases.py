"""Read by mypy in `test_typing.py`, never run: what it must accept and, where an error is expected, must reject.

An expected error that mypy does not find is an error itself (`warn_unused_ignores`).
"""

from __future__ import annotations

from typing import assert_type

from migration import Migration, Observer, Replay, Router, Runtime, migrate
from migration.routing import BoundShim, Shim
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.outbox import OutboxReplay

MIGRATION = Migration(name="m", candidate="pkg.mod:func")
router: Router = FixedRouter()
observer: Observer = RecordingObserver()
replay: Replay = OutboxReplay()
RUNTIME = Runtime(router=router, observers=[observer])


@migrate(MIGRATION, runtime=RUNTIME)
def upload(path: str, *, purpose: str = "file-extract") -> dict[str, int]:
    return {path: len(purpose)}


class Tool:
    @migrate(MIGRATION)
    def run(self, file: str, retries: int = 0) -> list[str]:
        return [file] * retries

    @staticmethod
    @migrate(MIGRATION)
    def check(path: str) -> bool:
        return bool(path)


async def accepted() -> None:
    assert_type(upload("a", purpose="b"), dict[str, int])
    assert_type(await upload.aio("a"), dict[str, int])
    assert_type(Tool().run("a", retries=1), list[str])
    assert_type(await Tool().run.aio("a", 1), list[str])
    assert_type(Tool.run(Tool(), "a"), list[str])
    assert_type(Tool.check("a"), bool)
    bound = Tool().run
    kept: BoundShim[..., list[str]] = bound
    shim: Shim[..., dict[str, int]] = upload
    kept("a")
    shim("a")


async def rejected() -> None:
    upload()  # type: ignore[call-arg]  # rejected
    upload(1)  # type: ignore[arg-type]  # rejected
    upload("a", "b")  # type: ignore[call-arg]  # rejected
    upload("a", purpose=2)  # type: ignore[arg-type]  # rejected
    upload("a", color="red")  # type: ignore[call-arg]  # rejected
    await upload.aio(1)  # type: ignore[arg-type]  # rejected
    await upload.aio("a", color="red")  # type: ignore[call-arg]  # rejected
    upload.aio("a")  # type: ignore[unused-coroutine]  # rejected
    await upload("a")  # type: ignore[misc]  # rejected
    Tool().run()  # type: ignore[call-arg]  # rejected
    Tool().run(1)  # type: ignore[arg-type]  # rejected
    await Tool().run.aio("a", "b")  # type: ignore[arg-type]  # rejected
    Tool.check(1)  # type: ignore[arg-type]  # rejected
    Migration("m", "pkg.mod:func")  # type: ignore[call-arg]  # rejected
    MIGRATION.name = "other"  # type: ignore[misc]  # rejected
