"""A monolith of a few files, written where a test wants it."""

from __future__ import annotations

from pathlib import Path

PRICES = '''"""Prices."""

from __future__ import annotations

import time

from migration import migrate
from SHOP.declared import PRICE


@migrate(PRICE)
def price(item: str, *parts: str, factor: int = 1, **rest: int) -> int:
    """What an item costs."""  # per piece
    return _slowly(len(item)) * factor


def _slowly(number: int) -> int:
    time.sleep(0)
    return number


class Till:
    """Where it is paid."""

    def pay(self, item: str) -> int:
        return price(item)
'''

NEW = """from __future__ import annotations


async def new_price(item: str, *parts: str, factor: int = 1, **rest: int) -> int:
    return len(item) * factor


async def new_pay(till: object, item: str) -> int:
    return len(item)


async def new_offer(item: str) -> int:
    return len(item)


async def new_rebate(item: str) -> int:
    return 1
"""

DECLARED = """from migration import Migration

PRICE = Migration(name="new-price", candidate="SHOP.prices_v2:new_price")
TILL = Migration(name="new-till", candidate="SHOP.prices_v2:new_pay")
MIGRATIONS = {"SHOP.prices:price": PRICE, "SHOP.prices:Till.pay": TILL}
"""

APPLICATION = """from migration import Migration, ReadOnly, install
from shim import Application

app = Application(
    migrations={
        "SHOP.prices_v1:offer": Migration(
            name="new-offer",
            candidate="SHOP.prices_v2:new_offer",
            replay=ReadOnly(),
        ),
        "SHOP.prices_v1:rebate": Migration(name="new-rebate", candidate="SHOP.prices_v2:new_rebate"),
    },
)


def at_start() -> None:
    install("SHOP.prices_v1:offer", app.migrations()["SHOP.prices_v1:offer"])
"""

OFFERS = """def offer(item: str) -> int:
    return len(item)


def rebate(item: str) -> int:
    return 1
"""

CALLERS = """from __future__ import annotations

import SHOP.prices as p
from SHOP import prices
from SHOP.prices import Till, price as cost

alias = cost


def sync() -> int:
    return p.price("a")


async def inside() -> int:
    return prices.price("a")


async def awaited() -> int:
    return await cost.aio(
        "a",
    )


def passed_on() -> list[int]:
    return list(map(alias, ["a"]))


def at_the_till(till: Till) -> int:
    mine = Till()
    return till.pay("a") + mine.pay("b")


def price(item: str) -> int:
    return 0


def another() -> int:
    return price("a")
"""


def build(root: Path, name: str) -> str:
    """Write the package `name` below `root`, and give its name; a test imports each name once."""
    folder = root / name
    folder.mkdir()
    files = {
        "__init__": "", "prices": PRICES, "prices_v1": OFFERS, "prices_v2": NEW, "declared": DECLARED,
        "app": APPLICATION, "callers": CALLERS,
    }  # fmt: skip
    for module, text in files.items():
        (folder / f"{module}.py").write_text(text.replace("SHOP", name))
    return name
