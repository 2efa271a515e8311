"""What is written from the code is what the code says."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from docs_reference.__main__ import DOCS, PAGES, stale
from docs_reference.rooms import picture
from tests.support.documents import ROOT


def test_the_generated_pages_are_fresh() -> None:
    """`make docs` has been run since the code changed."""
    assert stale() == []


def test_no_page_is_left_that_is_not_written() -> None:
    """Every file of the reference is generated."""
    assert {f"reference/{path.name}" for path in (DOCS / "reference").iterdir()} <= PAGES.keys()


def test_the_picture_shows_every_room() -> None:
    """No package of the program is missing in it, and it is well-formed."""
    drawing = picture()
    ET.fromstring(drawing)  # noqa: S314  # our own
    rooms = [path.parent.name for path in (ROOT / "tools").glob("*/__init__.py")]
    rooms += ["shim", "flags", "observability", "migration"]
    rooms += [f"migration/{path.parent.name}" for path in (ROOT / "migration").glob("*/__init__.py")]
    assert [room for room in rooms if room not in drawing] == []
