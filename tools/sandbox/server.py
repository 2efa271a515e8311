"""The server, with all vendors on one loopback port, and the control endpoint: switches, limits, what was received."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tools.providers.spec import PROVIDERS
from tools.sandbox.faults import Fault, FaultBoard, InvalidFaultError, Limits, Traffic
from tools.sandbox.objects import Objects
from tools.sandbox.providers import AccountFiles, FilesService
from tools.sandbox.resumable import Resumable
from tools.sandbox.serving import Service, World
from tools.sandbox.storage import Storage
from tools.sandbox.store import SandboxStore
from tools.sandbox.tables import Tables

_LONGEST_WAIT = 60.0
_MAX_FAULTS = 100


class Control:
    """What is found below `/_sandbox`. It asks for no key: the sandbox listens on loopback only."""

    def __init__(self, world: World, *, buckets: tuple[str, ...]) -> None:
        self._world = world
        self._buckets = buckets
        self._first_limits = world.limits

    def application(self) -> web.Application:
        """The endpoint as an application."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/faults", self._get_faults),
                web.post("/faults", self._add_fault),
                web.put("/faults", self._replace_faults),
                web.delete("/faults", self._clear_faults),
                web.get("/limits", self._get_limits),
                web.patch("/limits", self._change_limits),
                web.get("/state", self._get_state),
                web.delete("/state", self._reset),
                web.get("/requests", self._get_requests),
            ]
        )
        return application

    def create_buckets(self) -> None:
        """Create the buckets that are there from the start."""
        objects = Objects(self._world.store, self._world.clock)
        for name in self._buckets:
            if objects.bucket(name) is None:
                objects.add_bucket(name)

    async def _get_faults(self, _: web.Request) -> web.Response:
        return web.json_response({"faults": self._world.faults.to_json()})

    async def _add_fault(self, request: web.Request) -> web.Response:
        self._set([*self._world.faults.to_json(), await _body(request)])
        return await self._get_faults(request)

    async def _replace_faults(self, request: web.Request) -> web.Response:
        self._set(await _body(request))
        return await self._get_faults(request)

    def _set(self, values: object) -> None:
        if not isinstance(values, list) or len(values) > _MAX_FAULTS:
            raise web.HTTPBadRequest(text=f"expected a list of at most {_MAX_FAULTS} faults")
        try:
            faults = [Fault.from_json(value) for value in values]
        except InvalidFaultError as invalid:
            raise web.HTTPBadRequest(text=str(invalid)) from None
        self._world.faults.clear()
        for fault in faults:
            self._world.faults.add(fault)

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self._world.faults.clear()
        self._world.cut_hanging_requests()
        return web.Response(status=204)

    async def _get_limits(self, _: web.Request) -> web.Response:
        return web.json_response(self._world.limits.to_json())

    async def _change_limits(self, request: web.Request) -> web.Response:
        values = await _body(request)
        if not isinstance(values, dict):
            raise web.HTTPBadRequest(text="expected an object of limits")
        try:
            self._world.limits = self._world.limits.changed(values)
        except ValueError as invalid:
            raise web.HTTPBadRequest(text=str(invalid)) from None
        return await self._get_limits(request)

    async def _get_state(self, _: web.Request) -> web.Response:
        return web.json_response(self.state())

    def state(self) -> dict[str, Any]:
        """All that is stored, with digests."""
        store = self._world.store
        objects = Objects(store, self._world.clock)
        return {
            **{name: {"files": AccountFiles(each, self._world).to_json()} for name, each in PROVIDERS.items()},
            "supabase": {
                "buckets": [bucket.to_json() for bucket in objects.buckets()],
                "objects": [
                    {
                        "bucket": stored.bucket,
                        "name": stored.name,
                        "bytes": stored.bytes,
                        "sha256": stored.sha256,
                        "content_type": stored.content_type,
                        "metadata": dict(stored.metadata),
                    }
                    for stored in objects.all()
                ],
                "resumable": [
                    {name: row[name] for name in ("id", "bucket", "name", "length", "received")}
                    for row in store.rows("SELECT * FROM resumable_uploads ORDER BY id")
                ],
                "provider_file_uploads": [
                    dict(row) for row in store.rows("SELECT * FROM provider_file_uploads ORDER BY id")
                ],
                "upload_intents": [
                    dict(row) for row in store.rows("SELECT * FROM upload_intents ORDER BY began_at, upload_id")
                ],
            },
            "requests": self._world.journal.total,
        }

    async def _reset(self, _: web.Request) -> web.Response:
        self._world.faults.clear()
        self._world.cut_hanging_requests()
        self._world.limits = self._first_limits
        self._world.store.clear()
        self._world.journal.clear()
        self._world.traffic.clear()
        self.create_buckets()
        return web.Response(status=204)

    async def _get_requests(self, request: web.Request) -> web.Response:
        """All kept requests; with `service`, `operation` and `at_least`, first wait up to `seconds` for so many."""
        query = request.query
        try:
            at_least, seconds = int(query.get("at_least", 0)), min(float(query.get("seconds", 0)), _LONGEST_WAIT)
        except ValueError:
            raise web.HTTPBadRequest(text="at_least and seconds must be numbers") from None
        journal, service, operation = self._world.journal, query.get("service", ""), query.get("operation", "")
        if at_least and not await journal.wait_for(service, operation, at_least, seconds):
            found = journal.count(service, operation)
            raise web.HTTPRequestTimeout(text=f"{found} of {at_least} requests came within {seconds} s")
        return web.json_response({"total": journal.total, "requests": journal.to_json()})


async def _body(request: web.Request) -> Any:
    try:
        return await request.json()
    except ValueError:
        raise web.HTTPBadRequest(text="the body is not JSON") from None


DEFAULT_BUCKET = "user-files"
SUPABASE_PREFIX = "/supabase"
CONTROL_PREFIX = "/_sandbox"
_SHUTDOWN_SECONDS = 1.0
_READ_BUFFER_BYTES = 128 * 1024
_BACKLOG = 512


class SandboxServer:
    """Stand-ins of the providers and of Supabase.

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
            store=SandboxStore(self._home),
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

    async def run(self, *, ready: Callable[[], object], stop: asyncio.Event | None = None) -> None:
        """Serve until SIGTERM, SIGINT or `stop`; `ready` is called once the server listens.

        Raises:
            OSError: the folder or the port cannot be used.
        """
        stop, loop = stop or asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with self:
            ready()
            await stop.wait()

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"http://{self.address[0]}:{self.address[1]}"

    @property
    def urls(self) -> dict[str, str]:
        """Base URLs for the providers' clients, by provider."""
        return {name: f"{self.url}/{name}{each.stand_in.path}" for name, each in PROVIDERS.items()}

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
    providers = [FilesService(each, world) for each in PROVIDERS.values()]
    services: list[Service] = [*providers, Resumable(world), Storage(world), Tables(world)]
    for service in services:
        application.add_subapp(service.prefix, service.application())
    application.add_subapp(CONTROL_PREFIX, control.application())
    return application
