"""One request of the journal to PostgREST, over a connection of the journal's own.

It is no request of an upload: neither telemetry nor a comparison sees it, and it takes no upload's connection.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import json
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from functools import cache
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
from yarl import URL

from shim.http.aiohttp_tap import read_bounded
from shim.http.redaction import HiddenText
from shim.sqlite import ProcessLock, process_lock
from tools.journal.port import JournalError
from tools.journal.supabase_requests import Reply, Request
from tools.settings import MEGABYTE
from tools.transport.connections import ResumingContext, client_context, new_socket, proxy_for

MAX_CONNECTIONS: Final = 8
"""Connections of the journal of one process; further requests wait for a free one."""

ANSWER_SECONDS: Final = 5.0
"""How long one request may take in all."""

ATTEMPTS: Final = 2
"""So often a request is made whose connection the server closed instead of answering."""

MAX_ANSWER_BYTES: Final = 4 * MEGABYTE
"""A longer answer is not read."""

_SHOWN_CHARACTERS = 200
_NO_TABLE = frozenset({"PGRST205", "42P01"})
_NOT_HERE = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


class RemoteError(JournalError):
    """The database could not be asked, or did not do what it was asked."""


class AwayError(RemoteError):
    """The database cannot be reached, is overloaded, or did not answer in time: what was asked may have happened."""


class UnusableError(RemoteError):
    """The database has no such table, or refuses this key. That lasts until it is changed."""


class RefusedError(RemoteError):
    """The database will not do this, however often it is asked."""


class Asker:
    """Asks one Supabase project, from one event loop.

    Args:
        url: address of the project.
        key: a service-role key or a secret key.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url = URL(url).joinpath("rest", "v1")
        self._key = key
        self._session: aiohttp.ClientSession | None = None
        self.address = str(URL(url).origin())

    async def ask(self, table: str, request: Request) -> Reply:
        """Ask something about a table.

        Raises:
            RemoteError: one of its three kinds.
        """
        try:
            status, headers, content = await self._ask(table, request)
        except (aiohttp.ClientError, OSError, RuntimeError) as error:  # the latter: at the interpreter's end
            problem = "it did not answer in time" if isinstance(error, TimeoutError) else type(error).__name__
            raise AwayError(self.address, problem) from error
        if content is None:
            raise RefusedError(self.address, f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
        return self._reply(status, headers, content)

    async def _ask(self, table: str, request: Request) -> tuple[int, Mapping[str, str], bytes | None]:
        """The answer; a kept connection that the server was just closing is not taken for an answer."""
        url = self._url.joinpath(table).with_query(request.query)
        for attempt in count(1):
            try:
                async with self._open_session().request(
                    request.method,
                    url,
                    headers=self._headers(request),
                    json=request.body,
                    allow_redirects=False,  # a redirect would carry the key elsewhere
                    proxy=proxy_for(url),
                ) as response:
                    return response.status, response.headers, await read_bounded(response, MAX_ANSWER_BYTES)
            except aiohttp.ServerDisconnectedError:
                if attempt == ATTEMPTS or request.once:
                    raise
        raise AssertionError("counting has no end")

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, socket_factory=new_socket, ssl=_tls_context()),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            )
        return self._session

    def _headers(self, request: Request) -> dict[str, str]:
        prefer = "count=exact" if request.counted else "return=representation"
        return {"apikey": HiddenText(self._key), "Authorization": HiddenText(f"Bearer {self._key}"), "Prefer": prefer}

    def _reply(self, status: int, headers: Mapping[str, str], content: bytes) -> Reply:
        document = _document(content)
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            if not isinstance(document, list) or not all(isinstance(row, Mapping) for row in document):
                raise RefusedError(self.address, "the answer is not a list of rows")
            return Reply(rows=document, total=_total(headers.get("Content-Range", "")))
        code, message = _problem(document, content)
        if status == HTTPStatus.CONFLICT and code == "23505":
            return Reply(conflict=True)
        problem = f"{status} {code}: {message}"
        if code in _NO_TABLE or status in _NOT_HERE or status < HTTPStatus.BAD_REQUEST:
            raise UnusableError(self.address, problem)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING:
            raise AwayError(self.address, problem)
        raise RefusedError(self.address, problem)


@cache
def _tls_context() -> ResumingContext:
    return client_context()


def _document(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _problem(document: object, content: bytes) -> tuple[str, str]:
    if isinstance(document, Mapping):
        return str(document.get("code")), str(document.get("message"))[:_SHOWN_CHARACTERS]
    return "unexpected answer", content.decode(errors="replace")[:_SHOWN_CHARACTERS].strip()


def _total(content_range: str) -> int:
    """How many rows there are, of `0-0/7`; 0 when they were not counted."""
    total = content_range.rpartition("/")[2]
    return int(total) if total.isdecimal() else 0


# A thread with an event loop of its own, in which the journal waits for the network so that no caller has to.

T = TypeVar("T")

STOP_SECONDS: Final = 1.0
"""How long ending the loop may take."""


class LoopThread:
    """Runs coroutines for other threads. It dies with the process; a fork does not carry it over.

    What it runs has none of the caller's context: it belongs to no call's trace, and no comparison notes it.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upload-journal-remote", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin a coroutine, after all that was begun before; never blocks."""
        return contextvars.Context().run(asyncio.run_coroutine_threadsafe, work, self._loop)

    def call(self, work: Callable[[], object]) -> None:
        """Call a function on the loop, after all that was begun before; never blocks."""
        self._loop.call_soon_threadsafe(work, context=contextvars.Context())

    def stop(self, last: Coroutine[Any, Any, None]) -> None:
        """End the loop and its thread, after a last piece of work. Blocks; what does not end dies with the process."""
        with suppress(TimeoutError):
            self.run(_end(last)).result(STOP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()


class Turns:
    """Lets those go one after the other, in the order in which they came, who have the same key."""

    def __init__(self) -> None:
        self._locks: dict[object, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def turn(self, key: object) -> AsyncIterator[None]:
        """Wait for one's turn, and have it."""
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = lock, users - 1


async def _end(last: Coroutine[Any, Any, None]) -> None:
    """Cancel all that runs, and do a last piece of work."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await last


# Who this process is among the processes of all machines, and which of them are known to be dead.

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class FleetOwner:
    """This process, in the eyes of all machines.

    Of the processes of its own machine it knows which are dead, by the lock that each of them holds in one file. Of the
    others only their leases tell.

    Args:
        path: the file of the locks. When it cannot be used, no owner is known to be dead.
    """

    def __init__(self, path: Path) -> None:
        self._owner: ProcessLock | None = None
        self._machine = secrets.token_hex(6)
        place = "0"
        try:
            self._owner = process_lock(path)
            self._machine = _machine(path) or self._machine
            place = self._owner.name
        except OSError:
            pass  # leases do without it, and SQLite's journal says what is wrong with the folder
        self.name = f"{socket.gethostname()}/{self._machine}/{place}"

    def is_dead(self, name: str) -> bool:
        """Whether this owner is a process of this machine, and has died."""
        _, machine, place = ("", *name.rsplit("/", 2))[-3:]
        return self._owner is not None and machine == self._machine and not self._owner.is_alive(place)


def _machine(path: Path) -> str | None:
    """What processes share that see the same locks: a kernel since its start, and the file. None: not known."""
    try:
        boot_id, file = _BOOT_ID.read_text().strip(), path.stat()
    except OSError:
        return None
    return hashlib.sha256(f"{boot_id} {file.st_dev} {file.st_ino}".encode()).hexdigest()[:12]
