"""Who uses invoices: a nightly job that is synchronous, and a web page that is not."""

from __future__ import annotations

from collections.abc import Iterable

from billing import invoices
from billing.model import Invoice


def mail_all(pending: Iterable[Invoice], rates_url: str) -> list[str]:
    """The texts of tonight's mails."""
    return [f"Dear customer,\n\n{invoices.render(invoice, rates_url)}\n" for invoice in pending]


async def preview(invoice: Invoice, rates_url: str) -> str:
    """The page on which a clerk looks at an invoice."""
    return f"<pre>{await invoices.render.aio(invoice, rates_url)}</pre>"
