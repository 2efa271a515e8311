"""Renders invoices, as ever: one question to the rates service for each line, one after the other."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from decimal import Decimal

from billing.model import Invoice, in_euros, page


def render(invoice: Invoice, rates_url: str) -> str:
    """The invoice as text, in euros at the rates of the service.

    Raises:
        LookupError: the service does not know a currency.
        OSError: the service cannot be reached.
    """
    return page(invoice, [in_euros(line, _rate(rates_url, line.currency)) for line in invoice.lines])


def _rate(rates_url: str, currency: str) -> Decimal:
    try:
        with urllib.request.urlopen(f"{rates_url}/{currency}", timeout=10) as answer:  # noqa: S310  # http by contract
            return Decimal(json.load(answer)["rate"])
    except urllib.error.HTTPError as error:
        raise LookupError(f"no rate for {currency}") from error
