"""One pooled HTTP session for each event loop.

Python's `ssl` resumes a session only if it is handed to the next connection, and `asyncio` hands none
(https://docs.python.org/3.11/library/ssl.html#ssl.SSLContext.wrap_bio).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import socket
import ssl
import struct
import sys
import termios
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
import certifi
from aiohappyeyeballs import AddrInfoType
from yarl import URL

from shim.http.aiohttp_tap import trace_config
from shim.http.egress import is_confined
from shim.http.recording import observer
from tools.settings import get_settings
from tools.transport.loops import PerLoop, run_in_thread

UNCONFIRMED_SECONDS = 30
"""How long sent data may stay unconfirmed by the other end, be it that it has gone or takes no more.

This ends the wait for the answer to an upload that never got there. A provider that has everything may take longer.
"""

_CONFIRMED_AT = 120
"""Where `struct tcp_info` has `tcpi_bytes_acked`, 8 bytes (`include/uapi/linux/tcp.h`, Linux 4.2)."""


def make_room(count: int) -> None:
    """Let the process open so many more descriptors without a wait, as far as its limit goes. Blocks.

    Linux enlarges a process's table of descriptors when it is full: at 64, 128, 256 and so on. In a process that has
    threads, the thread that opens the next one waits for that, about 10 ms, and all of its event loop with it. A
    table never shrinks, so it is enough to have had a high number once.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError), Path(os.devnull).open("rb") as lowest:  # if none is left, the next open fails and says so
        os.close(fcntl.fcntl(lowest, fcntl.F_DUPFD_CLOEXEC, min(lowest.fileno() + count, limit - 1)))


def new_socket(address: AddrInfoType) -> socket.socket:
    """A socket for a connection to `address`: what is written is sent at once, and a dead connection breaks."""
    made = socket.socket(*address[:3])
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNCONFIRMED_SECONDS * 1000)
    return made


def confirmed_bytes(transport: asyncio.BaseTransport) -> int:
    """How many bytes the other end has confirmed on this connection; 0 where the system does not tell."""
    connected = transport.get_extra_info("socket")
    if sys.platform != "linux" or connected is None:
        return 0
    try:
        told = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _CONFIRMED_AT + 8)
    except OSError:  # it is closed by now
        return 0
    return int(struct.unpack_from("=Q", told, _CONFIRMED_AT)[0]) if len(told) >= _CONFIRMED_AT + 8 else 0


def unconfirmed_bytes(transport: asyncio.BaseTransport) -> int:
    """How many bytes the kernel still holds because the other end has not confirmed them.

    Raises:
        OSError: the connection is closed.
    """
    told = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0" * 4)
    return int(struct.unpack("i", told)[0])


def is_encrypted(transport: asyncio.BaseTransport) -> bool:
    """Whether what is written is encrypted in this process."""
    return transport.get_extra_info("sslcontext") is not None


def is_bare(transport: asyncio.BaseTransport) -> bool:
    """Whether the kernel may write into this connection, too: Linux can, and nothing must be encrypted."""
    return sys.platform == "linux" and not is_encrypted(transport) and transport.get_extra_info("socket") is not None


def duplicate(transport: asyncio.BaseTransport) -> socket.socket:
    """Another handle of a connection's socket: event loops let no task wait for the one that they use themselves.

    Raises:
        OSError: the connection is closed.
    """
    return socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))


# Encryption whose handshakes take up where the last connection to the same host left off.

MAX_SESSIONS = 64
"""Hosts whose last session is kept."""


class _WatchedObject(ssl.SSLObject):
    """A connection that gives its session to its context, once the server has sent its first data and so a session."""

    _given = False

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002  # the base class's name
        """As the base class."""
        data = super().read(len, buffer)
        if not self._given and isinstance(self.context, ResumingContext):
            self._given = True
            self.context.keep(self.server_hostname, self.session)
        return data


class ResumingContext(ssl.SSLContext):
    """A client's context that resumes sessions."""

    sslobject_class = _WatchedObject

    def __init__(self, *_args: object) -> None:
        self._sessions: dict[str | bytes | None, ssl.SSLSession] = {}

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002  # the base class's signature
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As the base class; without a session the host's last one is resumed, if the server still knows it."""
        return super().wrap_bio(
            incoming, outgoing, server_side, server_hostname, session or self._sessions.get(server_hostname)
        )

    def keep(self, host: str | bytes | None, session: ssl.SSLSession | None) -> None:
        """Resume this session with the next connection to the host."""
        self._sessions.pop(host, None)
        if session is None or not session.has_ticket:
            return
        self._sessions[host] = session
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)), None)


@cache
def tls_context() -> ResumingContext:
    """The context of every connection of this process. Blocks when it is made.

    It trusts the system's authorities (`SSL_CERT_FILE` included) and certifi's, as the vendors' clients do.
    """
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    context.load_verify_locations(cafile=certifi.where())
    return context


_DNS_CACHE_SECONDS = 60

_KEEP_ALIVE_SECONDS = 15.0
"""How long an idle connection is kept: shorter than servers keep it, for who sends into one that is being closed cannot
know what became of the request."""

_DESCRIPTORS_OF_A_CONNECTION = 3
"""Its own, that of the file, and the second handle that the kernel sends with."""

_PROXY_VARIABLES = tuple(
    write(f"{scheme}_proxy") for scheme in ("http", "https", "all") for write in (str.lower, str.upper)
)

_sessions: PerLoop[aiohttp.ClientSession] = PerLoop()


async def get_http_session() -> aiohttp.ClientSession:
    """The running loop's session: made on first use, shared by all, made again if it was closed.

    It holds as many connections as uploads to all providers may need; further requests wait for a free one. Cookies are
    neither kept nor sent. Time-outs are given with each request. The code that ends a loop calls `cleanup_http_session`
    before.
    """
    session = _open_session()
    if session is None:
        tls = await run_in_thread(_prepared)
        session = _open_session() or _sessions.set(_new_session(tls))  # another task may have made one meanwhile
    return session


async def cleanup_http_session() -> None:
    """Close the running loop's session and its connections, if there is one."""
    session = _sessions.pop()
    if session is not None:
        await session.close()


def _open_session() -> aiohttp.ClientSession | None:
    session = _sessions.get()
    return None if session is None or session.closed else session


def proxy_for(url: URL) -> str | None:
    """The proxy that the environment names for an address (`HTTPS_PROXY`, `NO_PROXY`, ...): legacy's clients obey it.

    In a replay there is none, for nothing may leave the machine.

    aiohttp's own `trust_env` would also read `.netrc` and send what it finds there instead of the provider's key.
    """
    if is_confined() or not _may_name_proxies():
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or url.host is None or proxy_bypass(url.host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _may_name_proxies() -> bool:
    """Whether it is worth the time to look for proxies closely: that takes as long as a tenth of a short upload."""
    return sys.platform in {"darwin", "win32"} or any(name in os.environ for name in _PROXY_VARIABLES)


def _new_session(tls: ResumingContext) -> aiohttp.ClientSession:
    connections = get_settings().upload_connections
    observer().pool_limit(connections=connections)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=connections,
            ttl_dns_cache=_DNS_CACHE_SECONDS,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            socket_factory=new_socket,
            ssl=tls,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[trace_config()],
    )


def _prepared() -> ResumingContext:
    """Whatever may block before there is a session."""
    make_room(_DESCRIPTORS_OF_A_CONNECTION * get_settings().upload_connections)
    return tls_context()
