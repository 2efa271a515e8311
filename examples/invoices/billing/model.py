"""What an invoice is."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One position; `amount` is in `currency`."""

    text: str
    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """What somebody has to pay."""

    number: str
    lines: tuple[Line, ...]


def in_euros(line: Line, rate: Decimal) -> Decimal:
    """The amount of a line in euros, to the cent; a half cent is rounded up, as the law has it."""
    return (line.amount * rate).quantize(Decimal("0.01"), ROUND_HALF_UP)


def page(invoice: Invoice, amounts: list[Decimal]) -> str:
    """The invoice as text."""
    rows = [f"{line.text:<24}{amount:>10}" for line, amount in zip(invoice.lines, amounts, strict=True)]
    return "\n".join([f"Invoice {invoice.number}", *rows, f"{'Total, EUR':<24}{sum(amounts, Decimal()):>10}"])
