"""Fixtures: a machine on which something has happened, an empty one, and a browser that looks at their consoles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.shim.console.scene import Served, fill, served, settings_for
from tests.support.browser import chromium
from tests.support.unleash_programs import REPOSITORY
from tools.sandbox import RunningSandbox, running_sandbox
from tools.settings import Settings


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A machine with uploads, comparisons, a roll-back by the guard, and traces."""
    folder = tmp_path_factory.mktemp("filled")
    with running_sandbox(folder / "sandbox") as sandbox:
        settings = settings_for(sandbox, folder / "home")
        fill(settings, folder)
    return settings


@pytest.fixture
def empty(sandbox: RunningSandbox, tmp_path: Path) -> Settings:
    """A machine on which nothing has happened."""
    return settings_for(sandbox, tmp_path / "home")


@dataclass(slots=True)
class Opened:
    """A page with the console, and what the browser complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    @property
    def updates(self) -> int:
        """How many states the page has rendered."""
        return int(self.page.evaluate("document.body.dataset.updates || 0"))

    def wait_for_updates(self, more: int = 2, seconds: float = 60.0) -> None:
        """Wait until the page has rendered so many further states."""
        wanted = self.updates + more
        for _ in range(int(seconds * 20)):
            if self.updates >= wanted:
                return
            self.page.wait_for_timeout(50)
        pytest.fail(f"{self.updates} of {wanted} updates after {seconds:g} s; {self.complaints}")

    def view(self, name: str) -> None:
        """Go to a view."""
        self.page.get_by_role("link", name=name, exact=True).click()
        self.page.get_by_role("heading", level=2).first.wait_for()

    def screenshot(self, name: str, *, full: bool = True) -> Path:
        """Keep what the browser shows as `build/artifacts/NAME.png`."""
        path = REPOSITORY / "build" / "artifacts" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, animations="disabled", full_page=full)
        return path


Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens consoles; at the end no page may have complained of anything that the test has not taken note of."""
    pages: list[Opened] = []

    def open_(console: Served, *, scheme: str = "light", width: int = 1280, with_token: bool = True) -> Opened:
        page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme="dark" if scheme == "dark" else "light"
        )
        opened = Opened(page)
        pages.append(opened)
        page.on("console", lambda said: opened.complaints.append(said.text) if said.type != "log" else None)
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        page.goto(f"{console.url}#token={console.token}" if with_token else console.url)
        return opened

    yield open_
    for opened in pages:
        opened.page.close()
    assert [opened.complaints for opened in pages] == [[] for _ in pages]


@pytest.fixture
def console_of() -> Iterator[Callable[..., Served]]:
    """Runs consoles until the end of the test."""
    with ExitStack() as stack:
        yield lambda settings, **options: stack.enter_context(served(settings, **options))
