"""Renders invoices anew: each currency is asked for once, all at the same time, and no event loop is held up."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import aiohttp

from billing.model import Invoice, in_euros, page


async def render_async(invoice: Invoice, rates_url: str) -> str:
    """As `billing.invoices.render`.

    Raises:
        LookupError: the service does not know a currency.
        OSError: the service cannot be reached.
    """
    currencies = list(dict.fromkeys(line.currency for line in invoice.lines))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        rates = await asyncio.gather(*(_rate(session, rates_url, currency) for currency in currencies))
    by_currency = dict(zip(currencies, rates, strict=True))
    return page(invoice, [in_euros(line, by_currency[line.currency]) for line in invoice.lines])


async def _rate(session: aiohttp.ClientSession, rates_url: str, currency: str) -> Decimal:
    async with session.get(f"{rates_url}/{currency}") as answer:
        if answer.status != 200:  # noqa: PLR2004  # OK
            raise LookupError(f"no rate for {currency}")
        return Decimal((await answer.json())["rate"])
