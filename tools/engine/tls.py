"""Encryption whose handshakes take up where the last connection to the same host left off.

Python's `ssl` resumes a session only if it is handed to the next connection, and `asyncio` hands none
(https://docs.python.org/3.11/library/ssl.html#ssl.SSLContext.wrap_bio).
"""

from __future__ import annotations

import ssl
from typing import Any

import certifi

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


def client_context() -> ResumingContext:
    """Trust the system's authorities (`SSL_CERT_FILE` included) and certifi's, as the vendors' clients do. Blocks."""
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    context.load_verify_locations(cafile=certifi.where())
    return context
