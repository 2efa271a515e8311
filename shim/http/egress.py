"""Where the requests of a context may go: anywhere; in a replay to its recorder only; after a trial nowhere.

Without that, a replayed client would follow a redirect that was noted to wherever it really leads, and would send what
is meant for the recorder, file and key included, to a proxy that the environment names. And without the gate, a thread
that outlives its trial would make something after everything was undone.

What sends is refused where it sends: clients of `httpx` by their tap, those of `aiohttp` and `http.client` (urllib,
urllib3, requests) at each request, as they keep connections, everything else when its socket connects. A replay begins
no process and no interpreter, which would know nothing of this.
"""

from __future__ import annotations

import errno
import functools
import http.client
import importlib
import multiprocessing.process
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

from migration.forking import new_lock
from migration.running.propagation import current

REFUSAL = "a replay may reach its recorder only, and a trial that is over nothing"

_origin: ContextVar[str | None] = ContextVar("wire_confinement", default=None)


class EgressGate:
    """Lets requests through until it is shut. It works for every thread and task that began behind it."""

    __slots__ = ("_shut",)

    def __init__(self) -> None:
        self._shut = False

    @property
    def is_shut(self) -> bool:
        """Whether nothing may be asked any more."""
        return self._shut

    def shut(self) -> None:
        """Let no further request begin."""
        self._shut = True


_gate: ContextVar[EgressGate | None] = ContextVar("wire_gate", default=None)


@contextmanager
def behind(gate: EgressGate | None) -> Iterator[None]:
    """Let this context's requests pass this gate; None: none."""
    _guard_once()
    token = _gate.set(gate)
    try:
        yield
    finally:
        _gate.reset(token)


@contextmanager
def confined_to(origin: str) -> Iterator[None]:
    """Let this context's requests go to this origin (scheme, host and port) only, and straight there."""
    _guard_once()
    token = _origin.set(origin)
    try:
        yield
    finally:
        _origin.reset(token)


def is_confined() -> bool:
    """Whether requests may go to one origin only, and must not take the way through a proxy."""
    return current(_origin) is not None


def is_shadow() -> bool:
    """Whether this context runs for a comparison: a replay, or a trial."""
    return is_confined() or current(_gate) is not None


def may_ask(url: str) -> bool:
    """Whether this address may be asked here."""
    gate, origin = current(_gate), current(_origin)
    if gate is not None and gate.is_shut:
        return False
    return origin is None or url.startswith(f"{origin}/")


def may_connect(host: object, port: object) -> bool:
    """Whether a connection may be made here to this address, or used."""
    gate, origin = current(_gate), current(_origin)
    if gate is not None and gate.is_shut:
        return False
    if origin is None:
        return True
    parts = urlsplit(origin)
    return (host, port) == (parts.hostname, parts.port)


# Where clients that have no tap are refused, and processes


def _guarded_connect(connect: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(connect)
    def guarded(self: socket.socket, address: Any) -> Any:
        if not may_connect(*(address[:2] if isinstance(address, tuple) else (address, None))):
            raise ConnectionRefusedError(errno.ECONNREFUSED, REFUSAL)
        return connect(self, address)

    return guarded


def _guarded_send(send: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(send)
    def guarded(self: socket.socket, *args: Any) -> Any:
        address = args[-1]
        if not may_connect(*(address[:2] if isinstance(address, tuple) else (address, None))):
            raise ConnectionRefusedError(errno.ECONNREFUSED, REFUSAL)
        return send(self, *args)

    return guarded


def _guarded_request(begin: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(begin)
    def guarded(self: http.client.HTTPConnection, *args: Any, **kwargs: Any) -> None:
        if not may_connect(self.host, self.port):
            raise ConnectionRefusedError(errno.ECONNREFUSED, REFUSAL)
        begin(self, *args, **kwargs)

    return guarded


def _guard_aiohttp() -> None:
    try:
        aiohttp = importlib.import_module("aiohttp")
    except ImportError:
        return  # none is installed
    connect = aiohttp.BaseConnector.connect

    @functools.wraps(connect)
    async def guarded(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        if not may_ask(str(request.url)):
            raise aiohttp.ClientConnectionError(REFUSAL)
        return await connect(self, request, *args, **kwargs)

    aiohttp.BaseConnector.connect = guarded


def _guarded_process(begin: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(begin)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if is_confined():
            raise PermissionError(errno.EPERM, "a replay may not begin processes and interpreters")
        return begin(*args, **kwargs)

    return guarded


_GUARDS: tuple[tuple[Any, str, Callable[[Callable[..., Any]], Callable[..., Any]]], ...] = (
    (socket.socket, "connect", _guarded_connect),
    (socket.socket, "connect_ex", _guarded_connect),
    (socket.socket, "sendto", _guarded_send),
    (http.client.HTTPConnection, "putrequest", _guarded_request),
    (subprocess.Popen, "__init__", _guarded_process),
    (multiprocessing.process.BaseProcess, "start", _guarded_process),
    *((os, name, _guarded_process) for name in ("fork", "forkpty", "posix_spawn", "posix_spawnp", "system")),
)
_INTERPRETERS = ("_interpreters", "_xxsubinterpreters")

_guarding = new_lock()
_guarded = False


def _guard_once() -> None:
    global _guarded  # noqa: PLW0603  # once a process
    if _guarded:
        return
    with _guarding:
        if _guarded:
            return
        for owner, name, guard in _GUARDS:
            if hasattr(owner, name):
                setattr(owner, name, guard(getattr(owner, name)))
        _guard_aiohttp()
        for name in _INTERPRETERS:
            _guard_interpreters(name)
        _guarded = True


def _guard_interpreters(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ImportError:
        return  # another version of Python
    module.create = _guarded_process(module.create)  # type: ignore[attr-defined]  # not in typeshed
