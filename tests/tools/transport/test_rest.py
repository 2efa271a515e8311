"""The REST client and the drivers: what is retried, how long is waited, what is bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tools.transport.errors import AnswerTooLargeError, UnansweredError
from tools.transport.loops import drive, drive_async, retry_delay
from tools.transport.rest import Digest, RestAnswer, RestClient, RestPolicy, is_transient, status_within

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
POLICY = RestPolicy(seconds=5.0, max_bytes=1000, attempts=3, first_delay=0.5, longest_delay=2.0)


class Server:
    """Answers as it is told, and counts."""

    def __init__(self) -> None:
        self.answer: Handler | None = None
        self.requests = 0
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        assert self.answer is not None
        return await self.answer(request)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = "http://{}:{}/files".format(*runner.addresses[0][:2])
    try:
        yield made
    finally:
        await runner.cleanup()


def answering(status: int = 200, text: str = "{}", **headers: str) -> Handler:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


async def cut(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


class Waited(list[float]):
    """Waits for nothing, and notes what would have been waited."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.mark.parametrize(
    ("answer", "problem"), [(answering(503), "HTTP 503"), (cut, "ServerDisconnectedError")], ids=["status", "cut"]
)
async def test_a_transient_failure_is_retried(server: Server, answer: Handler, problem: str) -> None:
    """As often as the policy says, with doubled delays; then the error tells the last problem and the attempts."""
    server.answer, waited = answer, Waited()
    async with RestClient(POLICY, sleep=waited) as client:
        with pytest.raises(UnansweredError, match=f"{problem}, 3 times") as failure:
            await client.ask("POST", server.url, headers={})  # aiohttp itself repeats a GET that was cut off
    assert (server.requests, failure.value.attempts, waited) == (3, 3, [0.5, 1.0])


async def test_the_server_may_advise_a_delay(server: Server) -> None:
    """`Retry-After` in seconds counts, up to the longest delay of the policy."""
    server.answer, waited = answering(429, Retry_After="60"), Waited()
    async with RestClient(POLICY, sleep=waited) as client:
        with pytest.raises(UnansweredError):
            await client.ask("GET", server.url, headers={})
    assert waited == [2.0, 2.0]


@pytest.mark.parametrize("status", [200, 302, 404, 501])
async def test_an_answer_is_not_retried(server: Server, status: int) -> None:
    """A success, a refusal and a redirect, which is not followed, are answers."""
    server.answer = answering(status, Location="http://127.0.0.1:9/")
    async with RestClient(POLICY, sleep=Waited()) as client:
        answer = await client.ask("GET", f"{server.url}?key=secret", headers={})
    assert (answer.status, server.requests, answer.succeeded) == (status, 1, status == 200)
    assert "secret" not in answer.where


async def test_a_request_that_must_not_be_repeated_is_sent_once(server: Server) -> None:
    """`once` overrides the attempts of the policy."""
    server.answer = cut
    async with RestClient(POLICY, sleep=Waited()) as client:
        with pytest.raises(UnansweredError, match=r"ServerDisconnectedError$"):
            await client.ask("POST", server.url, headers={}, document={}, once=True)
    assert server.requests == 1


async def test_an_answer_is_bounded(server: Server) -> None:
    """A longer answer is an error at once; a digest holds nothing, so it has no such bound."""
    server.answer = answering(text="x" * 1001)
    async with RestClient(POLICY) as client:
        with pytest.raises(AnswerTooLargeError, match="longer than 1000 bytes"):
            await client.ask("GET", server.url, headers={})
        assert await client.digest(server.url, headers={}) == Digest.of(b"x" * 1001)
    assert server.requests == 2


async def test_a_digest_of_nothing_is_the_answer(server: Server) -> None:
    """So that the caller can tell "not there" from another refusal."""
    server.answer = answering(404)
    async with RestClient(POLICY) as client:
        found = await client.digest(server.url, headers={})
    assert isinstance(found, RestAnswer)
    assert found.status == 404


async def test_a_status_in_the_body_decides(server: Server) -> None:
    """Storage puts its true status into an answer with status 400; a transient one is retried."""
    server.answer = answering(400, '{"statusCode": "503"}')
    policy = RestPolicy(seconds=5.0, max_bytes=1000, attempts=2, read_status=status_within)
    async with RestClient(policy, sleep=Waited()) as client:
        with pytest.raises(UnansweredError, match="HTTP 503, 2 times"):
            await client.ask("GET", server.url, headers={})


@given(st.integers(1, 50), st.floats(0.01, 10), st.floats(0.01, 60), st.floats(0, 0.999))
def test_a_delay_grows_to_its_bound(failures: int, first: float, longest: float, jitter: float) -> None:
    """Never beyond the longest, never shorter for more failures, at most a quarter taken off."""
    delay = retry_delay(failures, first=first, longest=longest, jitter=jitter)
    assert 0 < delay <= longest
    assert delay <= retry_delay(failures + 1, first=first, longest=longest, jitter=jitter)
    assert delay >= 0.75 * min(first, longest)


def test_transient_statuses() -> None:
    """Those that may be different later: overload, locks and failures, not what is not offered at all."""
    assert [status for status in range(100, 600) if is_transient(status) and status < 500] == [408, 423, 429]
    assert is_transient(500)
    assert not is_transient(501)


def _policy(log: list[str]) -> Generator[str, int, int]:
    try:
        first = yield "first"
        return first + (yield "second")
    except ValueError:
        log.append("cleaned up")
        return (yield "last")


def _perform(step: str) -> int:
    if step == "second":
        raise ValueError(step)
    return len(step)


async def _perform_async(step: str) -> int:
    return _perform(step)


async def test_a_policy_hears_of_what_its_steps_raise() -> None:
    """Both drivers raise it in the policy, which may go on; the result is the policy's."""
    log: list[str] = []
    assert drive(_policy(log), _perform) == 4
    assert await drive_async(_policy(log), _perform_async) == 4
    assert log == ["cleaned up", "cleaned up"]
