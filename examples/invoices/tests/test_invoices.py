"""What the shop expects of its invoices. No word here is about the migration, so it holds before, during and after."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from decimal import Decimal

import pytest

from billing import invoices
from billing.model import Invoice, Line
from billing.rates import serving
from billing.shop import mail_all

INVOICE = Invoice(
    number="7",
    lines=(
        Line(text="Rope", amount=Decimal("10.01"), currency="USD"),
        Line(text="Lamp", amount=Decimal("2.50"), currency="GBP"),
    ),
)


@pytest.fixture
def rates_url() -> Iterator[str]:
    with serving() as url:
        yield url


def test_an_invoice_is_in_euros(rates_url: str) -> None:
    """Every amount is converted and rounded, and the total is their sum."""
    text = invoices.render(INVOICE, rates_url)
    assert [row.split()[-1] for row in text.splitlines()[1:]] == ["8.66", "2.85", "11.51"]


def test_mails_hold_the_invoices(rates_url: str) -> None:
    """One mail for each."""
    mails = mail_all([INVOICE, INVOICE], rates_url)
    assert len(mails) == 2
    assert "Invoice 7" in mails[0]


def test_an_unknown_currency_is_an_error(rates_url: str) -> None:
    """Nobody gets an invoice with a wrong amount."""
    strange = Invoice(number="8", lines=(Line(text="Shell", amount=Decimal(1), currency="XXX"),))
    with pytest.raises(LookupError, match="XXX"):
        invoices.render(strange, rates_url)


def test_rendering_is_synchronous() -> None:
    """The nightly job calls it as it always has."""
    assert not inspect.iscoroutinefunction(invoices.render)
    assert not asyncio.iscoroutine(invoices.render)
