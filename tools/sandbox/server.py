"""The server: three vendors on one loopback port, each below its own prefix."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from aiohttp import web

from tools.sandbox.control import Control
from tools.sandbox.faults import FaultBoard
from tools.sandbox.glm import Glm
from tools.sandbox.kimi import Kimi
from tools.sandbox.limits import Limits, Traffic
from tools.sandbox.resumable import Resumable
from tools.sandbox.serving import Service, World
from tools.sandbox.storage import Storage
from tools.sandbox.store import Store
from tools.sandbox.tables import Tables

DEFAULT_BUCKET = "user-files"
SUPABASE_PREFIX = "/supabase"
CONTROL_PREFIX = "/_sandbox"
_SHUTDOWN_SECONDS = 1.0
_READ_BUFFER_BYTES = 128 * 1024
_BACKLOG = 512


class SandboxServer:
    """Stand-ins of Kimi, GLM and Supabase.

    Args:
        home: folder of the state; it is created, and what is there is taken up again.
        port: where to listen on loopback; 0 takes a free one.
        keys: the accepted credentials; None accepts any that is not empty.
        limits: how much the services accept.
        buckets: the storage buckets that are there from the start.
        random: decides about faults with a probability.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int = 0,
        keys: Collection[str] | None = None,
        limits: Limits | None = None,
        buckets: Collection[str] = (DEFAULT_BUCKET,),
        random: Random | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._home = home
        self._port = port
        self._keys = None if keys is None else frozenset(keys)
        self._limits = limits or Limits()
        self._buckets = tuple(buckets)
        self._clock = clock
        self._runner: web.AppRunner | None = None
        self._world: World | None = None
        self.faults = FaultBoard(random or Random())  # noqa: S311 - chance of faults, no secret
        self.address = ("127.0.0.1", port)

    async def start(self) -> None:
        """Take up the state and listen.

        Raises:
            OSError: the folder or the port cannot be used.
        """
        world = World(
            store=Store(self._home),
            faults=self.faults,
            limits=self._limits,
            keys=self._keys,
            clock=self._clock,
            traffic=Traffic(self._clock),
        )
        control = Control(world, buckets=self._buckets)
        control.create_buckets()
        self._world = world
        self._runner = web.AppRunner(
            _application(world, control),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=_SHUTDOWN_SECONDS,
            read_bufsize=_READ_BUFFER_BYTES,
        )
        try:
            await self._runner.setup()
            await web.TCPSite(self._runner, *self.address, backlog=_BACKLOG).start()
        except BaseException:
            await self.stop()
            raise
        host, port = self._runner.addresses[0][:2]
        self.address = (host, port)

    async def stop(self) -> None:
        """Cut what is open and close the state; the state stays on disk."""
        runner, self._runner = self._runner, None
        world, self._world = self._world, None
        if world is not None:
            world.cut_hanging_requests()
        if runner is not None:
            await runner.cleanup()
        if world is not None:
            world.store.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"http://{self.address[0]}:{self.address[1]}"

    @property
    def kimi_url(self) -> str:
        """Base URL for Kimi's clients."""
        return self.url + Kimi.prefix

    @property
    def glm_url(self) -> str:
        """Base URL for GLM's clients."""
        return self.url + Glm.prefix

    @property
    def supabase_url(self) -> str:
        """Base URL for Supabase's clients."""
        return self.url + SUPABASE_PREFIX

    @property
    def control_url(self) -> str:
        """Base URL of the control endpoint."""
        return self.url + CONTROL_PREFIX


def _application(world: World, control: Control) -> web.Application:
    application = web.Application()
    services: tuple[Service, ...] = (Kimi(world), Glm(world), Resumable(world), Storage(world), Tables(world))
    for service in services:
        application.add_subapp(service.prefix, service.application())
    application.add_subapp(CONTROL_PREFIX, control.application())
    return application
