"""Functions that upload to a loopback service in many ways, and their replay: what a replay may not let out."""

from __future__ import annotations

import _thread
import asyncio
import http.client
import json
import queue
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.pool import ThreadPool
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx

from migration import Call, Side
from migration.running.propagation import current
from shim.http.aiohttp_tap import read_bounded, trace_config
from shim.http.egress import confined_to
from shim.http.facts import target_of
from shim.http.recorder import AnswerBook, LoopbackRecorder, counted_once, why_not_repeatable
from shim.http.recording import ExchangeLog, noting, unobserved


class Service(ThreadingHTTPServer):
    """Makes a file of each upload; `made` holds their names."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.made: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def serving(self) -> Iterator[Service]:
        thread = threading.Thread(target=self.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Service
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:
        name = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.made.append(name)
        body = json.dumps({"id": f"id of {name}"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Say nothing."""


# The replay

_address: ContextVar[str | None] = ContextVar("address", default=None)


@dataclass(frozen=True)
class FilesReplay:
    """Replays functions that upload to a service; both find its address by `address()`."""

    url: str

    @contextmanager
    def record(self, call: Call) -> Iterator[FilesRecording]:
        recording = FilesRecording(self.url, call)
        with noting(recording.log):
            yield recording


@dataclass
class FilesRecording:
    url: str
    call: Call
    log: ExchangeLog = field(default_factory=ExchangeLog)

    def refusal(self) -> str | None:
        return why_not_repeatable(self.log)

    def size(self) -> int:
        return 0

    def stale(self) -> bool:
        return False

    @asynccontextmanager
    async def rehearse(self, side: Side) -> AsyncIterator[FilesRehearsal]:  # noqa: ARG002  # the same for both
        found = ((target_of({"files": self.url}, each.method, each.url), each) for each in self.log.exchanges)
        recorder = LoopbackRecorder(
            answers=AnswerBook((target, each) for target, each in found if target is not None), credentials={}
        )
        with unobserved(), noting(None):
            async with recorder.serving():
                token = _address.set(f"{recorder.address}/files")
                try:
                    with confined_to(recorder.address):
                        yield FilesRehearsal(self.call.args, self.call.kwargs, recorder)
                finally:
                    _address.reset(token)


@dataclass
class FilesRehearsal:
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    recorder: LoopbackRecorder

    def seen(self) -> Sequence[Mapping[str, object]]:
        return sorted(counted_once(self.recorder.seen), key=repr)


# Ways to upload

Names = Sequence[str]

HEADERS = {"accept": "*/*", "content-type": "text/plain"}
"""Which clients choose differently."""


@dataclass
class Ways:
    """What a module would keep in global variables, and functions that use it.

    Legacy's are synchronous, the candidate's are coroutine functions; each answers the ids of the files.
    """

    url: str
    lazy: dict[str, Any] = field(default_factory=dict)
    closers: list[Callable[[], object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = httpx.Client()
        self.warm = ThreadPoolExecutor(2)
        list(self.warm.map(str, range(4)))
        self.warm_threads = ThreadPool(2)
        self.warm_threads.map(str, range(4))
        self.fed: queue.SimpleQueue[tuple[str, Future[str]] | None] = queue.SimpleQueue()
        feeding = threading.Thread(target=self.feed, args=(self.fed,))
        feeding.start()
        self.closers += [
            self.client.close,
            self.warm.shutdown,
            self.warm_threads.terminate,
            feeding.join,
            lambda: self.fed.put(None),
        ]

    def close(self) -> None:
        for close in reversed(self.closers):
            close()

    def address(self) -> str:
        return current(_address) or self.url

    def send(self, name: str) -> str:
        answer = self.client.post(f"{self.address()}/upload/{name}", content=name.encode(), headers=HEADERS)
        return str(answer.raise_for_status().json()["id"])

    async def send_async(self, name: str) -> str:
        async with httpx.AsyncClient(verify=False) as client:  # noqa: S501  # the loopback is not encrypted
            answer = await client.post(f"{self.address()}/upload/{name}", content=name.encode(), headers=HEADERS)
        return str(answer.raise_for_status().json()["id"])

    def feed(self, requests: queue.SimpleQueue[tuple[str, Future[str]] | None]) -> None:
        while (request := requests.get()) is not None:
            try:
                request[1].set_result(self.send(request[0]))
            except Exception as error:  # noqa: BLE001  # for the one who asked
                request[1].set_exception(error)

    # Legacy, compared

    def plainly(self, names: Names) -> list[str]:
        return [self.send(name) for name in names]

    def by_threads(self, names: Names) -> list[str]:
        made: dict[str, str] = {}
        threads = [threading.Thread(target=lambda name=name: made.update({name: self.send(name)})) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [made[name] for name in names]

    def by_own_threads(self, names: Names) -> list[str]:
        send = self.send

        class Sending(threading.Thread):
            def __init__(self, name: str) -> None:
                super().__init__(name=name)
                self.answer = ""

            def run(self) -> None:
                self.answer = send(self.name)

        threads = [Sending(name) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [thread.answer for thread in threads]

    def by_low_level_threads(self, names: Names) -> list[str]:
        answers: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        for name in names:
            _thread.start_new_thread(lambda name: answers.put((name, self.send(name))), (name,))
        made = dict(answers.get(timeout=10) for _ in names)
        return [made[name] for name in names]

    def by_timers(self, names: Names) -> list[str]:
        made: dict[str, str] = {}
        timers = [threading.Timer(0.001, lambda name=name: made.update({name: self.send(name)})) for name in names]
        for timer in timers:
            timer.start()
        for timer in timers:
            timer.join()
        return [made[name] for name in names]

    def by_own_pool(self, names: Names) -> list[str]:
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(self.send, names))

    def by_lazy_pool(self, names: Names) -> list[str]:
        if "pool" not in self.lazy:
            self.lazy["pool"] = ThreadPoolExecutor(3)
            self.closers.append(self.lazy["pool"].shutdown)
        return list(self.lazy["pool"].map(self.send, names))

    def by_warm_pool(self, names: Names) -> list[str]:
        return [each.result() for each in [self.warm.submit(self.send, name) for name in names]]

    def by_nested_pools(self, names: Names) -> list[str]:
        def inner(name: str) -> str:
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(lambda: self.by_threads([name])[0]).result()

        return list(self.warm.map(inner, names))

    def by_thread_pool(self, names: Names) -> list[str]:
        with ThreadPool(2) as pool:
            return pool.map(self.send, names)

    def by_warm_thread_pool(self, names: Names) -> list[str]:
        first, *others = names
        told: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.warm_threads.apply_async(func=self.send, args=(first,), callback=told.put)
        return [told.get(timeout=10), *self.warm_threads.imap(self.send, others)]

    def by_callback_of_a_thread_pool(self, names: Names) -> list[str]:
        told: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        self.warm_threads.apply_async(str, callback=lambda _: told.put([self.send(name) for name in names]))
        return told.get(timeout=10)

    def by_a_loop(self, names: Names) -> list[str]:
        async def send_all() -> list[str]:
            return list(await asyncio.gather(*map(self.send_async, names)))

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, send_all()).result()

    def by_an_executor_of_a_loop(self, names: Names) -> list[str]:
        async def send_all() -> list[str]:
            loop = asyncio.get_running_loop()
            return list(await asyncio.gather(*(loop.run_in_executor(None, self.send, name) for name in names)))

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, send_all()).result()

    # Legacy, not compared

    def by_a_queue(self, names: Names) -> list[str]:
        """Through a thread that was begun before, and that nothing connects with the call."""
        asked: list[Future[str]] = [Future() for _ in names]
        for request in zip(names, asked, strict=True):
            self.fed.put(request)
        return [each.result(10) for each in asked]

    def by_a_lazy_queue(self, names: Names) -> list[str]:
        """Likewise, and the first call begins it."""
        if "queue" not in self.lazy:
            requests: queue.SimpleQueue[tuple[str, Future[str]] | None] = queue.SimpleQueue()
            self.lazy["queue"] = requests
            feeding = threading.Thread(target=self.feed, args=(requests,))
            feeding.start()
            self.closers += [feeding.join, lambda: requests.put(None)]
        asked: list[Future[str]] = [Future() for _ in names]
        for request in zip(names, asked, strict=True):
            self.lazy["queue"].put(request)
        return [each.result(10) for each in asked]

    def and_leave(self, names: Names) -> list[str]:
        """In a thread that is not waited for."""

        def late() -> None:
            threading.Event().wait(0.02)
            self.plainly(names)

        thread = threading.Thread(target=late)
        thread.start()
        self.closers.append(thread.join)
        return list(names)

    def by_urllib(self, names: Names) -> list[str]:
        """By a client that is not recorded."""
        made = []
        for name in names:
            with urllib.request.urlopen(f"{self.url}/upload", name.encode()) as answer:  # noqa: S310  # the loopback
                made.append(str(json.load(answer)["id"]))
        return made

    def by_a_kept_connection(self, names: Names) -> list[str]:
        """On a connection that the first call has opened."""
        if "connection" not in self.lazy:
            self.lazy["connection"] = http.client.HTTPConnection(urlsplit(self.url).netloc)
            self.closers.append(self.lazy["connection"].close)
        made = []
        for name in names:
            self.lazy["connection"].request("POST", "/upload", name.encode())
            made.append(str(json.load(self.lazy["connection"].getresponse())["id"]))
        return made

    def by_sockets(self, names: Names) -> list[str]:
        """By hand."""
        parts = urlsplit(self.url)
        for name in names:
            with socket.create_connection((parts.hostname, parts.port or 0)) as connection:
                text = f"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {len(name)}\r\n\r\n{name}"
                connection.sendall(text.encode())
                connection.recv(1000)
        return list(names)

    def by_a_process(self, names: Names) -> list[str]:
        """In another process."""
        text = (
            f"import urllib.request as r; [r.urlopen('{self.url}/upload', n.encode()).close() for n in {list(names)}]"
        )
        subprocess.run([sys.executable, "-Sc", text], check=True)  # noqa: S603  # a program of the test's own
        return list(names)

    # The candidate, compared

    async def plainly_async(self, names: Names) -> list[str]:
        return [await self.send_async(name) for name in names]

    async def by_a_session(self, names: Names) -> list[str]:
        """By one session of the module."""
        if "session" not in self.lazy:
            self.lazy["session"] = aiohttp.ClientSession(trace_configs=[trace_config()])
        return [await self._send_by(self.lazy["session"], name) for name in names]

    async def _send_by(self, session: aiohttp.ClientSession, name: str) -> str:
        async with session.post(f"{self.address()}/upload/{name}", data=name.encode(), headers=HEADERS) as answer:
            answer.raise_for_status()
            return str(json.loads(await read_bounded(answer, 10_000) or b"")["id"])

    async def by_tasks(self, names: Names) -> list[str]:
        return list(await asyncio.gather(*map(self.send_async, names)))

    async def by_worker_threads(self, names: Names) -> list[str]:
        loop = asyncio.get_running_loop()
        first, *others = names
        made = [loop.run_in_executor(None, self.send, name) for name in others]
        return [await asyncio.to_thread(self.send, first), *await asyncio.gather(*made)]

    async def by_legacy(self, names: Names) -> list[str]:
        return await asyncio.to_thread(self.by_nested_pools, names)

    # The candidate, not compared

    async def and_leave_a_task(self, names: Names) -> list[str]:
        """By a task that goes on for ever, and that the first call begins."""
        if "task" not in self.lazy:
            self.lazy["inbox"] = asyncio.Queue()

            async def feed() -> None:
                while True:
                    name, asked = await self.lazy["inbox"].get()
                    asked.set_result(await self.send_async(name))

            self.lazy["task"] = asyncio.create_task(feed(), name="feeding")
        asked = [asyncio.get_running_loop().create_future() for _ in names]
        for request in zip(names, asked, strict=True):
            self.lazy["inbox"].put_nowait(request)
        return list(await asyncio.gather(*asked))

    async def by_an_unrecorded_session(self, names: Names) -> list[str]:
        """By a session of the module without a tap, whose connections are kept."""
        if "unrecorded" not in self.lazy:
            self.lazy["unrecorded"] = aiohttp.ClientSession()
        made = []
        for name in names:
            async with self.lazy["unrecorded"].post(f"{self.url}/upload", data=name.encode()) as answer:
                made.append(str((await answer.json())["id"]))
        return made

    async def close_sessions(self) -> None:
        """On the loop on which they were opened."""
        for name in ("session", "unrecorded"):
            if name in self.lazy:
                await self.lazy[name].close()
        if "task" in self.lazy:
            self.lazy["task"].cancel()


LEGACY_COMPARED: Sequence[Callable[[Ways, Names], list[str]]] = (
    Ways.plainly,
    Ways.by_threads,
    Ways.by_own_threads,
    Ways.by_low_level_threads,
    Ways.by_timers,
    Ways.by_own_pool,
    Ways.by_lazy_pool,
    Ways.by_warm_pool,
    Ways.by_nested_pools,
    Ways.by_thread_pool,
    Ways.by_warm_thread_pool,
    Ways.by_callback_of_a_thread_pool,
    Ways.by_a_loop,
    Ways.by_an_executor_of_a_loop,
)
LEGACY_NOT_COMPARED: Mapping[Callable[[Ways, Names], list[str]], str] = {
    Ways.by_a_queue: "belongs to no call",
    Ways.by_a_lazy_queue: "",
    Ways.and_leave: "was still running when the call had ended",
    Ways.by_urllib: "did not do the same again: error",
    Ways.by_a_kept_connection: "did not do the same again: error",
    Ways.by_sockets: "did not do the same again: error",
    Ways.by_a_process: "did not do the same again: error",
}
CANDIDATE_COMPARED: Sequence[Callable[[Ways, Names], Awaitable[list[str]]]] = (
    Ways.plainly_async,
    Ways.by_a_session,
    Ways.by_tasks,
    Ways.by_worker_threads,
    Ways.by_legacy,
)
