"""`ReadOnly`: functions that only read are compared by running both sides again."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest

from migration import Migration, ReadOnly, Runtime, Side, install, uninstall, use_runtime
from migration.model import Comparison, Verdict
from migration.testing import FixedRouter, RecordingObserver

SHOP = '''
PRICES = {"rope": "26.60", "lantern": "20.81"}


def price(name: str, *, pieces: int = 1):
    """A shop's price."""
    from decimal import Decimal
    return Decimal(PRICES[name]) * pieces


def first(names):
    return next(names)
'''

NEW = """
from decimal import Decimal

from read_only_shop import old


async def price(name: str, *, pieces: int = 1):
    found = Decimal(old.PRICES[name]) * pieces
    return found - Decimal("0.01") if pieces >= 3 else found


async def first(names):
    return next(names)
"""

TARGET = "read_only_shop.old:price"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, router: FixedRouter, runtime: Runtime) -> Iterator[ModuleType]:
    """A module of a monolith, with a replacement that is a cent too cheap from three pieces on."""
    package = tmp_path / "read_only_shop"
    package.mkdir()
    for name, text in {"__init__": "", "old": SHOP, "new": NEW}.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    use_runtime(runtime)
    router.shadow = True
    install(TARGET, Migration(name="new-prices", candidate="read_only_shop.new:price", replay=ReadOnly()))
    module = __import__("read_only_shop.old").old
    yield module
    uninstall(TARGET)
    use_runtime(Runtime())


def compared(runtime: Runtime, observer: RecordingObserver) -> Comparison:
    assert runtime.shadows.drain(10)
    return observer.comparisons[-1]


@pytest.mark.parametrize("serve", Side)
@pytest.mark.parametrize(("pieces", "verdict"), [(1, Verdict.IDENTICAL), (3, Verdict.DIFFERENT)])
async def test_a_reading_function_is_compared(
    *,
    serve: Side,
    pieces: int,
    verdict: Verdict,
    old: ModuleType,
    router: FixedRouter,
    runtime: Runtime,
    observer: RecordingObserver,
) -> None:
    """Equal results are identical and the planted cent is found, whichever side answers, for both ways to call."""
    router.serve = serve
    answer = Decimal("26.60") * pieces - (Decimal("0.01") if serve is Side.CANDIDATE and pieces == 3 else 0)
    assert await old.price.aio("rope", pieces=pieces) == answer
    assert compared(runtime, observer).verdict is verdict
    assert await old.price_async("rope", pieces=pieces) == answer
    assert compared(runtime, observer).verdict is verdict
    assert len(observer.comparisons) == 2


def test_a_planted_difference_names_its_field(old: ModuleType, runtime: Runtime, observer: RecordingObserver) -> None:
    """A synchronous caller gets legacy's price; the comparison shows what either side says."""
    assert old.price("rope", pieces=3) == Decimal("79.80")
    [difference] = compared(runtime, observer).differences
    assert (difference.field, difference.legacy, difference.candidate) == (
        "result.value",
        "Decimal('79.80')",
        "Decimal('79.79')",
    )


def test_the_same_error_is_no_difference(old: ModuleType, runtime: Runtime, observer: RecordingObserver) -> None:
    """What both sides refuse alike is `SAME_ERROR`."""
    with pytest.raises(KeyError, match="anchor"):
        old.price("anchor")
    assert compared(runtime, observer).verdict is Verdict.SAME_ERROR


def test_an_argument_that_is_used_up_is_not_called_identical(
    old: ModuleType, runtime: Runtime, observer: RecordingObserver
) -> None:
    """An iterator gives legacy another value when it runs again: there is no comparison, and the reason says so."""
    target = "read_only_shop.old:first"
    install(target, Migration(name="first", candidate="read_only_shop.new:first", replay=ReadOnly()))
    assert old.first(iter("abcd")) == "a"
    found = compared(runtime, observer)
    assert found.verdict is Verdict.DROPPED
    assert "did not do the same again" in found.detail
