"""`shim report`: one file about what really happened, opened in a real browser without a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from migration.guard import DecisionRecord
from shim.report import Findings, gather, missing, summary
from shim.report import page as page_of
from shim.wiring import open_guard_store
from tests.shim.console.scene import FLAG, scene, settings_for
from tests.support.browser import chromium
from tools.sandbox import RunningSandbox, running_sandbox
from tools.settings import Settings

PLOTS = {"plot-stages", "plot-success", "plot-latency", "plot-verdicts", "plot-evidence"}
HOUR = 3600.0


@pytest.fixture(scope="module")
def rolled_back(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A machine on which uploads were compared, differed, failed, and were rolled back."""
    folder = tmp_path_factory.mktemp("rolled-back")
    with running_sandbox(folder / "sandbox") as sandbox:
        settings = settings_for(sandbox, folder / "home")
        with scene(settings, folder) as day:
            day.share(30)
            day.wait_for("identical", 3)
            day.faults.severity = 0.5
            day.wait_for("different", 1)
            day.go_wrong()
    return settings


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@dataclass(slots=True)
class Shown:
    """A page as the browser has it, what it complained of, and what it asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return self.page.inner_text("body")


def show(findings: Findings, browser: Browser, path: Path) -> Shown:
    """Open the report with the network cut."""
    path.write_text(page_of(findings), encoding="utf-8")
    context = browser.new_context(offline=True, viewport={"width": 1000, "height": 900})
    shown = Shown(context.new_page())
    shown.page.on("console", lambda said: shown.complaints.append(said.text))
    shown.page.on("pageerror", lambda error: shown.complaints.append(str(error)))
    shown.page.on("request", lambda request: shown.asked.append(request.url))
    shown.page.goto(path.as_uri())
    return shown


def test_a_report_stands_alone(rolled_back: Settings, browser: Browser, tmp_path: Path) -> None:
    """All plots are drawn, decisions stand there in sentences, nothing is asked of anybody, nothing goes wrong."""
    findings = gather(rolled_back, FLAG, seconds=HOUR)
    shown = show(findings, browser, tmp_path / "report.html")
    for name in PLOTS:
        shown.page.locator(f"#{name} svg.main-svg").first.wait_for()
    drawn = shown.page.eval_on_selector_all(".js-plotly-plot", "plots => plots.map(plot => plot.id)")
    assert set(drawn) == PLOTS
    assert shown.page.locator("#plot-success .scatterlayer .trace").count() == 2
    assert shown.complaints == []
    assert [url for url in shown.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    rollback = next(record for record in findings.records if record.action == "rollback")
    assert rollback.sentence in shown.text
    assert "requests[*]" in shown.text
    assert shown.page.locator("code", has_text="shim drill").count() == 1
    assert shown.page.title() == f"Migration {FLAG}"
    shown.page.screenshot(path=tmp_path / "report.png", full_page=True)


def test_a_report_of_nothing(sandbox: RunningSandbox, browser: Browser, tmp_path: Path) -> None:
    """Of a migration that was never called it says what is missing, and draws nothing."""
    findings = gather(settings_for(sandbox, tmp_path / "home"), FLAG, seconds=HOUR)
    shown = show(findings, browser, tmp_path / "report.html")
    assert shown.page.locator(".js-plotly-plot").count() == 0
    assert shown.complaints == []
    assert "candidate served 0 calls" in shown.text
    assert "Nothing was compared" in shown.text
    assert "There was no rollout on evidence" in shown.text


def test_names_are_no_markup(sandbox: RunningSandbox, tmp_path: Path) -> None:
    """What comes from outside is shown, and never run."""
    settings = settings_for(sandbox, tmp_path / "home")
    evil = "<script>alert(1)</script>"
    open_guard_store(settings).decide(
        DecisionRecord(
            at=gather(settings, FLAG, seconds=HOUR).at, migration=FLAG, action="hold", by=evil, sentence=evil
        )
    )
    html = page_of(gather(settings, FLAG, seconds=HOUR))
    assert evil not in html
    assert "&lt;script&gt;alert(1)" in html


def test_a_rollback_comes_first(rolled_back: Settings) -> None:
    """The first sentence says what holds, with the reason; what still has to be seen is said as well."""
    findings = gather(rolled_back, FLAG, seconds=HOUR)
    first = next(iter(summary(findings)))
    assert first.startswith("The migration is rolled back")
    assert any("never tried" in sentence for sentence in missing(findings))
