"""One pooled HTTP session for each event loop."""

from __future__ import annotations

import os
import sys
from functools import cache
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from shim.http.aiohttp_tap import trace_config
from shim.http.confinement import is_confined
from shim.http.watching import observer
from tools.engine.loops import PerLoop
from tools.engine.sockets import make_room, new_socket
from tools.engine.threads import run_in_thread
from tools.engine.tls import ResumingContext, client_context
from tools.settings import get_settings

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
    """The running loop's session: made on first use, shared by everyone, made anew if it was closed.

    It holds as many connections as uploads to all providers may need; further requests wait for a free one. Cookies are
    neither kept nor sent. Time-outs are given with each request. Whoever ends a loop calls `cleanup_http_session`
    before.
    """
    session = _open_session()
    if session is None:
        tls = await run_in_thread(_prepared)
        session = _open_session() or _sessions.set(_new_session(tls))  # somebody else may have made one meanwhile
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

    In a rehearsal there is none, for nothing may leave the machine.

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
    return _tls_context()


@cache
def _tls_context() -> ResumingContext:
    return client_context()
