"""One request of the journal to PostgREST, over a connection of the journal's own.

It is no request of an upload: neither telemetry nor a comparison sees it, and it takes no upload's connection.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
from yarl import URL

from shim.http.redaction import RedactedText
from shim.primitives import BackgroundThread, ProcessLock, process_lock, why_no_loop
from tools.journal.port import JournalError
from tools.journal.supabase_requests import Reply, Request
from tools.settings import MEGABYTE
from tools.transport.errors import AnswerTooLargeError, UnansweredError
from tools.transport.rest import RestAnswer, RestClient, RestPolicy

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


POLICY: Final = RestPolicy(
    seconds=ANSWER_SECONDS,
    max_bytes=MAX_ANSWER_BYTES,
    attempts=ATTEMPTS,
    retried=(aiohttp.ServerDisconnectedError,),  # a kept connection that the server was just closing
    transient=lambda _status: False,
)
"""The bounds of a request."""


class TableClient:
    """Sends the journal's requests to one Supabase project, from one event loop.

    Args:
        url: address of the project.
        key: a service-role key or a secret key.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url = URL(url).joinpath("rest", "v1")
        self._key = key
        self._rest = RestClient(POLICY)
        self.address = str(URL(url).origin())

    async def ask(self, table: str, request: Request) -> Reply:
        """Ask something about a table.

        Raises:
            RemoteError: one of its three kinds.
        """
        url = self._url.joinpath(table).with_query(request.query)
        headers = self._headers(request)
        try:
            answer = await self._rest.ask(
                request.method, url, headers=headers, document=request.body, once=request.once
            )
        except AnswerTooLargeError as error:
            raise RefusedError(self.address, f"the answer is longer than {MAX_ANSWER_BYTES} bytes") from error
        except UnansweredError as error:
            raise AwayError(self.address, str(error)) from error
        except RuntimeError as error:  # at the interpreter's end
            raise AwayError(self.address, type(error).__name__) from error
        return self._reply(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._rest.close()

    def _headers(self, request: Request) -> dict[str, str]:
        prefer = "count=exact" if request.counted else "return=representation"
        return {
            "apikey": RedactedText(self._key),
            "Authorization": RedactedText(f"Bearer {self._key}"),
            "Prefer": prefer,
        }

    def _reply(self, answer: RestAnswer) -> Reply:
        document = answer.document()
        if answer.succeeded:
            if not isinstance(document, list) or not all(isinstance(row, Mapping) for row in document):
                raise RefusedError(self.address, "the answer is not a list of rows")
            return Reply(rows=document, total=_total(answer.headers.get("Content-Range", "")))
        code, message = _problem(document, answer)
        if answer.status == HTTPStatus.CONFLICT and code == "23505":
            return Reply(conflict=True)
        problem = f"{answer.status} {code}: {message}"
        if code in _NO_TABLE or answer.status in _NOT_HERE or answer.status < HTTPStatus.BAD_REQUEST:
            raise UnusableError(self.address, problem)
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status in _PASSING:
            raise AwayError(self.address, problem)
        raise RefusedError(self.address, problem)


def _problem(document: object, answer: RestAnswer) -> tuple[str, str]:
    if isinstance(document, Mapping):
        return str(document.get("code")), str(document.get("message"))[:_SHOWN_CHARACTERS]
    return "unexpected answer", answer.text[:_SHOWN_CHARACTERS].strip()


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

    Raises:
        AwayError: the system has no thread for it, or its threads are greenlets.
    """

    def __init__(self) -> None:
        if (why := why_no_loop()) is not None:
            raise AwayError("the shared journal", why)
        self._loop = asyncio.new_event_loop()
        self._thread = BackgroundThread(self._loop.run_forever, name="upload-journal-remote")
        if not self._thread.start():
            self._loop.close()
            raise AwayError("the shared journal", f"it has no thread: {self._thread.refusal}")

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
        if not self._thread.running:
            self._loop.close()


class KeyedLocks:
    """A lock for each key that is in use."""

    def __init__(self) -> None:
        self._locks: dict[object, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def holding(self, key: object) -> AsyncIterator[None]:
        """Hold the lock of this key, first come, first served."""
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(key)
            if users > 1:
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
