"""Who may see the console and who may act, tried with a raw client."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration.guard import GuardStore
from shim.console import Access, new_token
from shim.wiring import open_guard_store
from tests.shim.console.scene import FLAG, TOKEN, Served
from tools.settings import Settings

Run = Callable[..., Served]

BEARER = {"Authorization": f"Bearer {TOKEN}"}
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])


def ask(console: Served, method: str, path: str, headers: dict[str, str], body: Any = None) -> Answer:
    """Ask as anybody could who can reach the port."""
    parts = urlsplit(console.url)
    assert parts.port is not None
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=10)
    try:
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        answer = connection.getresponse()
        length = 200 if answer.headers["Content-Type"] == "text/event-stream" else None
        return Answer(answer.status, dict(answer.headers), answer.read(length))
    finally:
        connection.close()


def order(console: Served, **headers: str) -> Answer:
    """Roll back, with these headers besides what is needed."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(console, "POST", "/api/rollback", {**JSON, **BEARER, **named}, {"migration": FLAG, "because": "a test"})


@pytest.fixture
def console(empty: Settings, console_of: Run) -> Served:
    return console_of(empty)


@pytest.fixture
def store(empty: Settings) -> GuardStore:
    return open_guard_store(empty)


def test_the_token_lets_act(console: Served, store: GuardStore) -> None:
    """With the token a roll-back is tripped; a second one finds it done."""
    first, second = order(console), order(console)
    assert (first.status, second.status) == (200, 200)
    assert json.loads(first.body)["tripped"] is True
    assert json.loads(second.body)["new"] is False
    assert [record.action for record in store.records(FLAG)] == ["rollback"]
    assert TOKEN not in first.body.decode()


@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN])
def test_nothing_is_changed_without_the_token(console: Served, store: GuardStore, sent: str) -> None:
    """A wrong, a shortened or no token is refused, and nothing is rolled back."""
    refused = order(console, Authorization=sent)
    assert refused.status == 401
    assert TOKEN not in refused.error
    assert store.statuses() == {}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_other_sites_are_refused(console: Served, store: GuardStore, headers: dict[str, str]) -> None:
    """A page of another site can neither act, even with the token, nor read."""
    assert order(console, **headers).status == 403
    assert store.statuses() == {}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    assert ask(console, "GET", "/api/state", {**BEARER, **named}).status == 403


def test_the_own_page_may_act(console: Served) -> None:
    """What a browser sends from the console's own page is taken."""
    origin = console.url.rstrip("/")
    assert order(console, Origin=origin, Sec_Fetch_Site="same-origin").status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8642", "127.0.0.1.evil.example", "192.0.2.7", "", "a b"]
)
@pytest.mark.parametrize("path", ["/", "/assets/main.js", "/api/state", "/api/events"])
def test_a_name_that_was_made_to_point_here_is_refused(console: Served, host: str, path: str) -> None:
    """DNS rebinding: under a foreign name not even the page is served."""
    assert ask(console, "GET", path, {**BEARER, "Host": host}).status in {400, 421}


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1", "[::1]:99"])
def test_names_of_the_loopback_are_known(console: Served, host: str) -> None:
    """Whatever the machine calls itself on the loopback is served, as through a forwarded port."""
    assert ask(console, "GET", "/api/state", {"Host": host}).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_only_a_post_acts(console: Served, store: GuardStore, method: str) -> None:
    """No link, image or form of the wrong kind rolls anything back."""
    assert ask(console, method, "/api/rollback", {**JSON, **BEARER}).status == 405
    assert store.statuses() == {}


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "text/plain"}, {"migration": FLAG}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, {"migration": FLAG}, 415),
        (JSON, {"migration": "no-such"}, 400),
        (JSON, {"migration": [FLAG]}, 400),
        (JSON, {"migration": FLAG, "because": 7}, 400),
        (JSON, [], 400),
        (JSON, "x" * 10_000, 413),
    ],
)
def test_a_malformed_order_changes_nothing(
    console: Served, store: GuardStore, headers: dict[str, str], body: Any, status: int
) -> None:
    """What is not exactly an order is refused with what is wrong."""
    refused = ask(console, "POST", "/api/rollback", {**BEARER, **headers}, body)
    assert refused.status == status
    assert refused.error
    assert store.statuses() == {}


def test_elsewhere_reading_takes_the_token(empty: Settings, console_of: Run) -> None:
    """On another address than the loopback's nothing but the bare page is shown without the token."""
    console = console_of(empty, host="0.0.0.0")  # noqa: S104  # what is tested
    for path in ("/api/state", "/api/events", "/api/decisions/1", "/api/comparisons/1", f"/api/traces/{'0' * 32}"):
        assert ask(console, "GET", path, {}).status == 401, path
        assert ask(console, "GET", path, BEARER).status in {200, 404}, path
    page = ask(console, "GET", "/", {})
    assert page.status == 200
    assert FLAG not in page.body.decode()
    assert ask(console, "GET", "/api/state", {**BEARER, "Host": "192.0.2.7:80"}).status == 200
    assert ask(console, "GET", "/api/state", {**BEARER, "Host": "evil.example"}).status == 421


def test_the_page_may_do_nothing_but_talk_to_its_console(console: Served) -> None:
    """The policy allows no inline script or style, no other site, no frame; refusals carry it as well."""
    for path in (
        "/",
        "/assets/main.js",
        "/assets/plotly.min.js",
        "/api/state",
        "/api/events",
        "/api/nothing",
        "/api/rollback",
    ):
        headers = ask(console, "GET", path, {}).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none';")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers
        assert "Set-Cookie" not in headers


@pytest.mark.parametrize("name", ["../server.py", "..%2fserver.py", "%2e%2e/server.py", "nothing.js", "index.htm"])
def test_only_parts_of_the_page_are_served(console: Served, name: str) -> None:
    """No path leads out of the page's folder."""
    assert ask(console, "GET", f"/assets/{name}", {}).status == 404


def test_tokens_cannot_be_guessed() -> None:
    """Each is new, and long; it is not in what the rules print."""
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert min(map(len, made)) >= 43
    token = made.pop()
    assert token not in repr(Access(host="127.0.0.1", token=token))


@given(st.text(max_size=40))
def test_no_other_name_is_the_loopback(name: str) -> None:
    """Whatever a browser sends as `Host`: on the loopback it is known only if it names the loopback."""
    if Access(host="127.0.0.1", token=TOKEN).knows_host(name):
        assert any(own in name.lower() for own in ("localhost", "127.0.0.1", "::1"))
