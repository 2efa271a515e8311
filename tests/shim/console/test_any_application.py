"""The console and the report work for whatever is declared, and for names that only the state on disk knows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from migration import Migration, ReadOnly
from migration.guard import DecisionRecord
from shim import Application
from shim.application import CellKind, ConsoleSection, Extension, SectionContent, SectionTable
from shim.console import ConsoleSources
from shim.console.state import States
from shim.report import gather, page
from shim.settings import ShimSettings
from shim.wiring import open_guard_store

DECLARED, FORMER = "new-prices", "new-offers"
PRICES = Migration(name=DECLARED, candidate="shop.new:price", replay=ReadOnly())
STOCK = SectionTable(
    title="Stock",
    columns=[("item", CellKind.TEXT), ("left", CellKind.COUNT)],
    rows=[("tea", 3)],
    empty="Nothing is left.",
)


def unreadable() -> SectionContent:
    raise RuntimeError("the stock is being counted")


VIEWS = [
    ConsoleSection(name="Stock", title="What is left", read=lambda: SectionContent(tables=[STOCK])),
    ConsoleSection(name="Orders", title="What is asked for", read=unreadable),
]


@pytest.fixture
def settings(tmp_path: Path) -> ShimSettings:
    """A machine on which a migration was rolled back that is not declared any more."""
    settings = ShimSettings(shim_home=tmp_path)
    record = DecisionRecord(at=time.time(), migration=FORMER, action="rollback", by="me", sentence="It was too slow.")
    open_guard_store(settings).decide(record)
    return settings


@pytest.fixture
def states(settings: ShimSettings) -> Iterator[States]:
    """What the console shows of an application of a few lines."""
    app = Application(migrations={"shop.old:price": PRICES}, extensions=[Extension(views=lambda: VIEWS)])
    with closing(ConsoleSources.of(app, settings)) as sources:
        yield States(sources, now=time.time)


def shown_of(states: States, name: str) -> Any:
    """What the page is given about a migration."""
    return states.state(name, 900.0)


def test_declared_and_former_migrations_are_shown(states: States) -> None:
    """Declared ones come first; a former one has its decisions, and what is declared says how calls are compared."""
    shown = shown_of(states, FORMER)
    assert list(shown["migrations"]) == [DECLARED, FORMER]
    assert shown["guard"]["tripped"] is True
    assert shown["mode"] == "none"
    assert shown_of(states, DECLARED)["mode"] == "replay"


def test_views_of_the_application_are_shown(states: States) -> None:
    """Each as its tables; of one that cannot be read the page says why, and shows the others."""
    shown = shown_of(states, DECLARED)
    stock, orders = shown["sections"]
    assert stock["content"]["tables"][0]["rows"] == [("tea", 3)]
    assert orders == {"name": "Orders", "title": "What is asked for", "content": None}
    assert shown["problems"] == ["Orders: the stock is being counted"]


def test_nothing_declared_is_said(tmp_path: Path) -> None:
    """An application without migrations has a page that says so."""
    with closing(ConsoleSources.of(Application(migrations={}), ShimSettings(shim_home=tmp_path))) as sources:
        shown = States(sources, now=time.time).state("", 900.0)
    assert "no migration is declared" in str(shown["problems"])


def test_a_former_migration_has_a_report(settings: ShimSettings) -> None:
    """With its decision."""
    assert "It was too slow." in page(gather(settings, FORMER, seconds=3600.0))
