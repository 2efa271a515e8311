"""Two sides that are compared, for the tests of shadows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from migration import Comparison, Migration, Runtime, migrate
from migration.routing import Shim
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.helpers import eventually
from tests.migration.outbox import Outbox, OutboxReplay, rehearsing


@dataclass
class Bench:
    """Two sides that send to an outbox, and what is compared of them."""

    runtime: Runtime
    router: FixedRouter
    observer: RecordingObserver
    outbox: Outbox
    replay: OutboxReplay = field(default_factory=OutboxReplay)
    old: Callable[[], object] = lambda: {"id": "1"}
    new: Callable[[], object] = lambda: {"id": "1"}
    options: dict[str, Any] = field(default_factory=dict)

    def shim(self) -> Shim[[], Any]:
        async def candidate() -> object:
            self.outbox.send(path="/files")
            return await asyncio.to_thread(self.new)

        def legacy() -> object:
            self.outbox.send(path="/files")
            return self.old()

        migration = Migration(name="m", candidate=candidate, replay=self.replay, **self.options)
        return migrate(migration, runtime=self.runtime)(legacy)

    def compared(self, count: int = 1) -> list[Comparison]:
        assert eventually(lambda: len(self.observer.comparisons) >= count)
        assert self.runtime.shadows.drain(10)
        assert len(self.observer.comparisons) == count
        return self.observer.comparisons

    def verdict(self) -> Comparison:
        """Call once, whatever comes of it, and return what the comparison said."""
        with suppress(ValueError, TypeError):
            self.shim()()
        return self.compared()[0]


def failing(error: BaseException) -> Callable[[], Any]:
    def fail() -> object:
        raise error

    return fail


@dataclass
class Gate:
    """Holds every shadow, and no primary."""

    opened: threading.Event = field(default_factory=threading.Event)
    held: list[str] = field(default_factory=list)

    def go_through(self) -> object:
        if rehearsing():
            self.held.append("shadow")
            assert self.opened.wait(20)
        return {"id": "1"}


def gated(
    router: FixedRouter, observer: RecordingObserver, **options: Any
) -> tuple[Gate, Runtime, Shim[[], object], OutboxReplay]:
    gate, replay = Gate(), OutboxReplay()
    runtime = Runtime(router=router, observers=[observer], **options)
    router.shadow = True

    async def candidate() -> object:
        return await asyncio.to_thread(gate.go_through)

    shim = migrate(Migration(name="m", candidate=candidate, replay=replay), runtime=runtime)(gate.go_through)
    return gate, runtime, shim, replay
