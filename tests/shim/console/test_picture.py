"""The picture in the documents: the real page, after the button was pressed while uploads went on."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest

from tests.shim.console.conftest import Open
from tests.shim.console.scene import SECONDS, Served, scene
from tests.shim.console.test_rollback import press
from tools.settings import Settings

STAGE_SECONDS = 20.0


@pytest.mark.thorough
def test_the_picture(empty: Settings, console_of: Callable[..., Served], open_page: Open, tmp_path: Path) -> None:
    """Legacy alone, ten percent, half of the calls, and back by hand: the page shows each, and legacy serves."""
    opened = open_page(console_of(empty))
    opened.wait_for_updates()
    opened.page.get_by_label("Looking back").select_option("120")
    opened.page.set_viewport_size({"width": 1280, "height": 1560})
    with scene(empty, tmp_path) as work:
        for percent in (0, 10, 50):
            work.share(percent, compared=20)
            time.sleep(STAGE_SECONDS)
        assert "was rolled back by hand" in press(opened, "the new path slows others down")
        opened.page.get_by_role("button", name="Close").click()
        opened.page.get_by_text("the flag was turned off at").wait_for(timeout=SECONDS * 1000)
        time.sleep(STAGE_SECONDS / 2)
        opened.wait_for_updates()
        opened.screenshot("console", full=False)
    shares = opened.page.locator("#chart-share")
    shares.get_by_text("As a table").click()
    told = [row.locator("td").nth(2).inner_text() for row in shares.locator("tbody tr").all()]
    assert [share for share, _ in groupby(told)] == ["0 %", "10 %", "50 %", "0 %"]
