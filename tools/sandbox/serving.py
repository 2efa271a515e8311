"""What all stand-ins have in common: authorization, faults, the request log, and errors in the vendor's shape."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tools.sandbox.faults import DrawnFaults, Fault, FaultBoard, FaultKind, Limits, Traffic
from tools.sandbox.intake import ConnectionCut, RequestLog, SandboxExchange, UnusableBodyError, drain
from tools.sandbox.store import SandboxStore

_log = logging.getLogger(__name__)
_LINGER_OFF = struct.pack("ii", 1, 0)  # on, with a timeout of 0 seconds: closing sends RST
_GATEWAY_TIMEOUT_PAGE = (
    "<html>\r\n<head><title>504 Gateway Time-out</title></head>\r\n<body>\r\n"
    "<center><h1>504 Gateway Time-out</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)

Handler = Callable[[SandboxExchange], Awaitable[web.StreamResponse]]


@dataclass(slots=True, kw_only=True)
class World:
    """What the stand-ins share.

    `keys` are the accepted credentials; None accepts any. `clock` gives seconds since the epoch.
    """

    store: SandboxStore
    faults: FaultBoard
    limits: Limits
    keys: frozenset[str] | None
    clock: Callable[[], float]
    traffic: Traffic
    journal: RequestLog = field(default_factory=RequestLog)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    def cut_hanging_requests(self) -> None:
        """Cut the connections of all requests that hang."""
        self.release.set()
        self.release = asyncio.Event()


class Refusal(Exception):  # noqa: N818 - an ordinary answer, raised because it ends the handling
    """The service refuses the request with this answer."""

    def __init__(self, response: web.Response) -> None:
        self.response = response
        super().__init__(response.status)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation: its name for faults and log, and where it is found."""

    operation: str
    method: str
    path: str
    handler: Handler


class Service(ABC):
    """One stand-in: endpoints below a prefix.

    Attributes:
        name: of the service, for faults and the log.
        prefix: where it is found.
    """

    name: str
    prefix: str

    def __init__(self, world: World) -> None:
        self.world = world
        self._operations: dict[object, str] = {}

    @abstractmethod
    def endpoints(self) -> Sequence[Endpoint]:
        """The operations, more specific paths first."""

    @abstractmethod
    def refuse(self, status: int, message: str) -> web.Response:
        """An error that the vendor's pages do not spell out, in the vendor's shape."""

    @abstractmethod
    def faulty(self, fault: Fault) -> web.Response:
        """The answer of a fault."""

    @abstractmethod
    def unauthorized(self, *, key_given: bool) -> web.Response:
        """The answer to a request without a key, or with a wrong one."""

    def application(self) -> web.Application:
        """The stand-in as an application to be mounted at its prefix."""
        application = web.Application(middlewares=[self._serve])
        for endpoint in self.endpoints():
            handle = _unwrapped(endpoint.handler)
            application.router.add_route(endpoint.method, endpoint.path, handle)
            self._operations[handle] = endpoint.operation
        return application

    @web.middleware
    async def _serve(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        operation = self._operations.get(request.match_info.handler, "unknown")
        entry = self.world.journal.begin(self.name, operation, request)
        await self.world.journal.announce()
        authorized = self._authorized(request)
        with self._drawn(entry.operation, authorized=authorized) as faults:
            entry.faults = faults.kinds
            exchange = SandboxExchange(request, faults, entry, self.world.store, self.world.release)
            request[EXCHANGE] = exchange
            return await self._respond(exchange, handler, authorized=authorized)

    @contextmanager
    def _drawn(self, operation: str, *, authorized: bool) -> Iterator[DrawnFaults]:
        """What befalls a request: what the account's limits say, else what the switches do."""
        if not authorized:
            yield DrawnFaults()
            return
        with self.world.traffic.admitted(self.name, operation, self.world.limits) as refusal:
            yield DrawnFaults([refusal]) if refusal else self.world.faults.draw(self.name, operation)

    async def _respond(
        self,
        exchange: SandboxExchange,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        *,
        authorized: bool,
    ) -> web.StreamResponse:
        request, faults, entry = exchange.request, exchange.faults, exchange.entry
        try:
            response = await (self._carry_out(exchange, handler) if authorized else self._turn_away(exchange))
            if FaultKind.LATENCY in faults and FaultKind.DROP_AFTER_COMMIT not in faults:
                await asyncio.sleep(faults.seconds(FaultKind.LATENCY))
        except ConnectionCut:
            entry.ended = "reset"
            return _reset(request)
        except BaseException:
            entry.ended = "disconnected"
            raise
        finally:
            exchange.clean_up()
        if FaultKind.DROP_AFTER_COMMIT in faults:
            entry.ended = "dropped"
            return _close(request)
        entry.status, entry.ended = response.status, "answered"
        return response

    async def _carry_out(
        self, exchange: SandboxExchange, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        faults = exchange.faults
        if FaultKind.HANG in faults:
            await drain(exchange)
            await exchange.release.wait()
            raise ConnectionCut
        if faults.refusal:
            await drain(exchange)
            return self._refusal(faults.refusal)
        if faults.cut and not exchange.request.can_read_body:
            await drain(exchange)
        try:
            return await handler(exchange.request)
        except Refusal as refusal:
            return refusal.response
        except UnusableBodyError as unusable:
            return self.refuse(web.HTTPBadRequest.status_code, str(unusable))
        except web.HTTPException as problem:
            await drain(exchange)
            return self.refuse(problem.status, problem.reason)
        except (ConnectionCut, ConnectionError):  # a fault strikes, or the client went away
            raise
        except Exception:  # noqa: BLE001 - the boundary of the server: the client gets a 500, the log the reason
            _log.exception("%s %s failed", exchange.request.method, exchange.request.path)
            return self.refuse(web.HTTPInternalServerError.status_code, "internal error of the sandbox")

    async def _turn_away(self, exchange: SandboxExchange) -> web.Response:
        await drain(exchange)
        return self.unauthorized(key_given="Authorization" in exchange.request.headers)

    def _refusal(self, fault: Fault) -> web.Response:
        if fault.kind is FaultKind.GATEWAY_TIMEOUT:
            return web.Response(status=504, text=_GATEWAY_TIMEOUT_PAGE, content_type="text/html")
        response = self.faulty(fault)
        if fault.retry_after is not None:
            response.headers["Retry-After"] = str(fault.retry_after)
        return response

    def _authorized(self, request: web.Request) -> bool:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        accepted = self.world.keys
        return scheme.lower() == "bearer" and bool(key.strip()) and (accepted is None or key.strip() in accepted)


EXCHANGE = web.RequestKey("exchange", SandboxExchange)


def json_response(payload: Mapping[str, Any] | Sequence[Any], status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.json_response(payload, status=status)


def _unwrapped(handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request[EXCHANGE])

    return handle


def _reset(request: web.Request) -> web.Response:
    """Send RST instead of an answer."""
    if request.transport is not None:
        connection: socket.socket | None = request.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
        request.transport.abort()
    return web.Response()


def _close(request: web.Request) -> web.Response:
    """Close the connection in order, without an answer."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()
