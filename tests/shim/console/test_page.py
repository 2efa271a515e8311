"""The page in a real browser, with data that were really made, and without any."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has no types

from migration.guard import DecisionRecord
from shim.wiring import open_guard_store
from tests.shim.console.conftest import Open, Opened
from tests.shim.console.scene import FLAG, Served, served
from tools.journal import get_journal
from tools.journal.port import Intent, State, UploadSide
from tools.settings import Settings

VIEWS = ("Overview", "Evidence", "Comparisons", "Decisions", "Journal", "Traces")

Run = Callable[..., Served]


def violations(opened: Opened) -> list[Any]:
    """What axe finds wrong with what is shown, with the elements."""
    found: list[Any] = Axe().run(opened.page).response["violations"]
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]


def figure(opened: Opened, name: str) -> Any:
    """A chart as it is read aloud."""
    return opened.page.locator(f"#chart-{name} .chart").get_attribute("aria-label") or ""


def test_the_overview_shows_both_sides(filled: Settings, console_of: Run, open_page: Open) -> None:
    """Stage, guard, figures of both sides with units, types of errors, processes: all from what really happened."""
    opened = open_page(console_of(filled))
    opened.wait_for_updates()
    page = opened.page
    assert "rolled back: 0 %" in page.locator("#status").inner_text()
    rows = {
        row.locator("th").inner_text(): row.locator("td").all_inner_texts()
        for row in page.locator("#sides tr").all()
        if row.locator("th[scope=row]").count()
    }
    assert rows["Success"][0] == "100 %"
    assert rows["Success"][1].endswith(" %")
    assert rows["Success"][1] != "100 %"
    assert all(
        value.endswith((" ms", " s")) for value in rows["Median duration"] + rows["99th percentile of durations"]
    )
    assert all(value.endswith((" kB", " MB")) for value in rows["Bytes of successful calls"])
    assert "RuntimeError" in page.locator("#errors").inner_text()
    assert "web-1:" in page.locator("#processes").inner_text()
    assert "0 %" in figure(opened, "share")
    assert figure(opened, "memory").endswith((" MB", " GB"))
    for name in ("share", "success", "duration", "memory", "loop", "pool"):
        assert page.locator(f"#chart-{name} .trace").count() > 0, name
    opened.screenshot("console-overview")


def test_figures_are_written_as_they_are(filled: Settings, console_of: Run, open_page: Open) -> None:
    """Durations, sizes, shares and evidence keep their magnitude, whatever zeros they end with."""
    opened = open_page(console_of(filled))
    told = opened.page.evaluate(
        """async () => {
          const f = await import("/assets/format.js");
          return [f.seconds(0.27), f.seconds(0.0004), f.seconds(100), f.bytes(999), f.bytes(1500000),
                  f.percent(100), f.percent(0.1), f.toOne(1), f.toOne(125.4), f.toOne(20)];
        }"""
    )
    assert told == [
        "270 ms", "0.4 ms", "100 s", "999 B", "1.5 MB", "100 %", "0.1 %", "1 to 1", "125 to 1", "20 to 1",
    ]  # fmt: skip


def test_the_evidence_has_its_thresholds(filled: Settings, console_of: Run, open_page: Open) -> None:
    """The curve ends above the threshold at which it was rolled back, and both thresholds are drawn."""
    opened = open_page(console_of(filled))
    opened.wait_for_updates()
    opened.view("Evidence")
    chart = opened.page.locator("#chart-evidence")
    assert "rolled back at 100" in chart.inner_text()
    assert "promotion stops at 20" in chart.inner_text()
    assert chart.locator(".shapelayer path").count() == 2
    chart.get_by_text("As a table").click()
    last = chart.locator("tbody tr").last.locator("td").last.inner_text()
    assert float(last.removesuffix(" to 1").replace(",", "")) >= 100
    opened.screenshot("console-evidence")


def test_a_comparison_is_shown_field_by_field(filled: Settings, console_of: Run, open_page: Open) -> None:
    """From the verdicts to one comparison, and in it every field that differs with both values."""
    opened = open_page(console_of(filled))
    opened.wait_for_updates()
    opened.view("Comparisons")
    assert "identical" in figure(opened, "verdicts")
    row = opened.page.locator("#comparisons tbody tr", has_text="candidate_error").first
    row.get_by_role("button").click()
    detail = opened.page.locator("#comparison")
    detail.get_by_role("heading", name="candidate_error").wait_for()
    fields = {
        cells[0]: cells[1:3]
        for cells in (each.locator("td").all_inner_texts() for each in detail.locator("tbody").last.locator("tr").all())
    }
    assert fields["error.type"][1] == "'RuntimeError'"
    assert fields["error.type"][0] != fields["error.type"][1]
    assert opened.page.evaluate("document.activeElement.id") == "comparison"
    opened.screenshot("console-comparisons")


def test_a_decision_is_explained(filled: Settings, console_of: Run, open_page: Open) -> None:
    """The log has sentences; one of them opens with its figures, its curve and its bad calls."""
    opened = open_page(console_of(filled))
    opened.wait_for_updates()
    opened.view("Decisions")
    entry = opened.page.locator("#decisions li", has_text="was rolled back").first
    assert "The flag was changed" in entry.inner_text()
    entry.get_by_role("button").click()
    detail = opened.page.locator("#decision")
    detail.get_by_text("candidate.errors").wait_for()
    assert "Candidate" in detail.inner_text()
    assert opened.page.locator("#chart-decision .trace").count() == 1
    opened.screenshot("console-decisions")


def test_a_trace_has_its_shadow(filled: Settings, console_of: Run, open_page: Open) -> None:
    """The waterfall shows the caller's run with its requests, and the shadow that is linked to it."""
    opened = open_page(console_of(filled))
    opened.wait_for_updates()
    opened.view("Traces")
    opened.page.locator("#traces tbody tr", has_text="compared").first.get_by_role("button").click()
    detail = opened.page.locator("#trace")
    detail.get_by_text("is linked to the caller's trace").wait_for()
    chart = opened.page.locator("#chart-trace")
    assert "the shadow, linked to it" in chart.inner_text()
    assert f"{FLAG} legacy" in chart.inner_text()
    assert f"{FLAG} candidate" in chart.inner_text()
    assert "POST" in chart.inner_text()
    opened.screenshot("console-trace")


def test_every_view_explains_that_it_is_empty(empty: Settings, console_of: Run, open_page: Open) -> None:
    """On a machine on which nothing has happened each view says why it shows nothing, and how that changes."""
    opened = open_page(console_of(empty))
    opened.wait_for_updates()
    said = {name: opened_text(opened, name) for name in VIEWS}
    assert "no call was decided in this time" in said["Overview"]
    assert "No process has made a call" in said["Overview"]
    assert "No call failed in this time" in said["Overview"]
    assert "no call has gone badly" in said["Evidence"]
    assert "No comparison is recorded" in said["Comparisons"]
    assert "Nothing has been decided" in said["Decisions"]
    assert "None: " in said["Journal"]
    assert "No trace is known" in said["Traces"]


def opened_text(opened: Opened, name: str) -> str:
    opened.view(name)
    opened.screenshot(f"console-empty-{name.lower()}")
    return opened.page.locator(f"#view-{name.lower()}").inner_text()


def test_unfinished_uploads_are_listed(empty: Settings, console_of: Run, open_page: Open) -> None:
    """What the journal has begun and not ended is shown with state, provider and size, and without its file's name."""
    intent = Intent(
        upload_id="upload-1", provider="kimi", account="http://127.0.0.1:1", purpose="file-extract", sha256="0" * 64,
        filename="secret-name.pdf", size=1500, path="/home/someone/secret-name.pdf", side=UploadSide.ASYNC,
        began_at=time.time(),
    )  # fmt: skip
    journal = get_journal(empty)
    journal.open(intent, overlapping=0.0).result(10)
    try:
        opened = open_page(console_of(empty))
        opened.wait_for_updates()
        said = opened_text(opened, "Journal")
    finally:
        journal.close("upload-1", State.FAILED)
    assert "upload-1" in said
    assert "intended" in said
    assert "1.5 kB" in said
    assert "secret-name" not in opened.page.content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(filled: Settings, console_of: Run, open_page: Open, scheme: str) -> None:
    """Axe finds nothing wrong with any view, its details, or the dialog, in light and in dark."""
    opened = open_page(console_of(filled), scheme=scheme)
    opened.wait_for_updates()
    found = {}
    for name in VIEWS:
        opened.view(name)
        show = opened.page.locator(f"#view-{name.lower()} button.row").first
        if show.count():
            show.click()
            opened.page.locator(f"#view-{name.lower()} .detail h3").wait_for()
        found[name] = violations(opened)
        opened.screenshot(f"console-{scheme}-{name.lower()}")
    opened.page.get_by_role("button", name="Roll back now").click()
    found["dialog"] = violations(opened)
    assert found == {name: [] for name in (*VIEWS, "dialog")}


def test_it_is_accessible_when_empty(empty: Settings, console_of: Run, open_page: Open) -> None:
    """Nor with any view that has nothing to show."""
    opened = open_page(console_of(empty))
    opened.wait_for_updates()
    found = {}
    for name in VIEWS:
        opened.view(name)
        found[name] = violations(opened)
    assert found == {name: [] for name in VIEWS}


def test_it_fits_a_phone(filled: Settings, console_of: Run, open_page: Open) -> None:
    """At the width of a phone no view has to be scrolled sideways, and what is pressed is large enough."""
    opened = open_page(console_of(filled), width=360)
    opened.wait_for_updates()
    for name in VIEWS:
        opened.view(name)
        wide = opened.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, f"{name} is {wide} pixels wide"
    for control in opened.page.locator("header button, header select, nav a").all():
        box = control.bounding_box()
        assert box is not None
        assert box["height"] >= 44
    opened.screenshot("console-phone")


@pytest.mark.parametrize("width", [360, 1280])
def test_the_button_is_always_at_hand(filled: Settings, console_of: Run, open_page: Open, width: int) -> None:
    """However far one has scrolled, on a phone and on a desktop, the button can be pressed at once."""
    opened = open_page(console_of(filled), width=width)
    opened.wait_for_updates()
    opened.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    top = opened.page.evaluate("document.getElementById('roll-back').getBoundingClientRect().top")
    assert 0 <= top < 900
    opened.page.mouse.click(*middle(opened, "#roll-back"))
    assert opened.page.locator("#confirm").is_visible()


def middle(opened: Opened, selector: str) -> tuple[float, float]:
    """Where to click, if nothing lies above it."""
    box = opened.page.evaluate(f"document.querySelector('{selector}').getBoundingClientRect().toJSON()")
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_old_figures_are_not_called_live(filled: Settings, open_page: Open) -> None:
    """When the console has ended, the page says so beside the time of its figures, until there is one again."""
    with served(filled) as console:
        opened = open_page(console)
        opened.wait_for_updates()
        live = opened.page.locator("#live")
        assert live.inner_text() == "live"
    opened.page.get_by_text("not live, these figures are old").wait_for()
    assert "trying again" in opened.page.locator("#connection").inner_text()
    opened.complaints.clear()  # that the server is gone


def test_who_has_turned_the_flag_off_is_seen(empty: Settings, console_of: Run, open_page: Open) -> None:
    """A flag that was turned off by hand is said with the stage, and is among the decisions."""
    sentence = f"{FLAG} was turned off by alice: too slow."
    now = time.time()
    record = DecisionRecord(at=now, migration=FLAG, action="off", by="alice", sentence=sentence, carried_out_at=now)
    open_guard_store(empty).decide(record)
    opened = open_page(console_of(empty))
    opened.wait_for_updates()
    assert sentence in opened.page.locator("#status").inner_text()
    opened.view("Decisions")
    assert sentence in opened.page.locator("#decisions").inner_text()


def test_it_works_by_keyboard(filled: Settings, console_of: Run, open_page: Open) -> None:
    """Everything is reached and pressed by keys alone; the focus survives updates, and returns from the dialog."""
    opened = open_page(console_of(filled))
    opened.wait_for_updates()
    page = opened.page
    page.get_by_role("link", name="Decisions").focus()
    page.keyboard.press("Enter")
    button = page.locator("#decisions button").first
    button.focus()
    opened.wait_for_updates()
    assert button.evaluate("each => each === document.activeElement")
    page.keyboard.press("Enter")
    page.locator("#decision h3").wait_for()
    roll_back = page.get_by_role("button", name="Roll back now")
    roll_back.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "confirm-reason"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "roll-back"
