"""The nightly job as a program: `python -m billing.night COUNT` renders so many invoices."""

from __future__ import annotations

import asyncio
import sys
from decimal import Decimal

from billing.migrations import app
from billing.model import Invoice, Line
from billing.rates import serving
from billing.shop import mail_all, preview

INVOICE = Invoice(
    number="2041",
    lines=(
        Line(text="Rope, 40 m", amount=Decimal("61.50"), currency="USD"),
        Line(text="Lantern", amount=Decimal("18.25"), currency="GBP"),
        Line(text="Harbour dues", amount=Decimal("12.00"), currency="EUR"),
    ),
)


def main() -> None:
    """Render the invoices, and show the last one."""
    count = int(sys.argv[1])
    with serving() as rates_url, app.running():
        mails = mail_all([INVOICE] * count, rates_url)
        asyncio.run(preview(INVOICE, rates_url))
    sys.stdout.write(f"{mails[-1]}({count} invoices)\n")


if __name__ == "__main__":
    main()
