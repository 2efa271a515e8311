"""The patch that ends a migration."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shim.removal.declarations import declared, one_declared
from shim.removal.removal import removal
from shim.removal.sources import DeclarationsNotFoundError, SourceTree, UnknownMigrationError
from tests.shim.removal.shop import build
from tests.support.documents import ROOT


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])


def after(root: Path, shop: str, name: str) -> dict[str, str]:
    """What becomes of the files, by their names."""
    found = removal(SourceTree(root), one_declared(name, f"{shop}.declared:MIGRATIONS", root))
    return {change.file.path.stem: change.after for change in found.changes}


def test_a_decorated_function_keeps_its_face(tmp_path: Path) -> None:
    """Name, signature and docstring stay; the body, its helper and the decorator go; there is a twin for awaiting."""
    shop = build(tmp_path, "shop_removed")
    files = after(tmp_path, shop, "new-price")
    prices = files["prices"]
    assert "    return call_blocking(new_price, item, *parts, factor=factor, **rest)\n" in prices
    assert "    return await new_price(item, *parts, factor=factor, **rest)\n" in prices
    assert '    """What an item costs."""  # per piece\n' in prices
    assert f"from {shop}.prices_v2 import new_price\n" in prices
    for gone in ("migrate", "_slowly", "time", "PRICE"):
        assert gone not in prices, gone
    assert "        return price(item)\n" in prices
    assert "PRICE" not in files["declared"]
    assert f'MIGRATIONS = {{"{shop}.prices:Till.pay": TILL}}\n' in files["declared"]


def test_callers_that_await_the_shim_await_the_twin(tmp_path: Path) -> None:
    """Nothing else of them changes."""
    shop = build(tmp_path, "shop_awaiting")
    callers = after(tmp_path, shop, "new-price")["callers"]
    assert "    return await price_async(\n" in callers
    assert "    return p.price" in callers


def test_a_method_is_replaced_in_its_class(tmp_path: Path) -> None:
    """And handed its object."""
    shop = build(tmp_path, "shop_method")
    prices = after(tmp_path, shop, "new-till")["prices"]
    assert "        return call_blocking(new_pay, self, item)\n" in prices
    assert "    async def pay_async(self, item: str) -> int:\n" in prices
    assert "@migrate(PRICE)" in prices


def test_a_declaration_within_an_application_goes(tmp_path: Path) -> None:
    """So does `install`; the application stays with its other migration, and then with none."""
    shop = build(tmp_path, "shop_application")
    found = removal(SourceTree(tmp_path), one_declared("new-offer", f"{shop}.app:app", tmp_path))
    after = {change.file.path.stem: change.after for change in found.changes}
    assert after["prices_v1"].count("    return call_blocking(new_offer, item)\n") == 1
    assert after["app"].startswith("from migration import Migration\nfrom shim import Application\n\napp")
    assert "new-offer" not in after["app"]
    assert "        install(" not in after["app"]
    assert '"new-rebate"' in after["app"]
    assert found.by_hand == ("archive the flags new-offer and new-offer.shadow in Unleash once this is deployed",)


def test_the_patch_is_one_that_programs_take(tmp_path: Path) -> None:
    """`git apply` and `patch -p1` make the very files of it."""
    shop = build(tmp_path, "shop_patch")
    found = removal(SourceTree(tmp_path), one_declared("new-price", f"{shop}.declared:MIGRATIONS", tmp_path))
    for number, command in enumerate((["git", "apply"], ["patch", "-p1", "--silent"])):
        copy = tmp_path / f"copy{number}"
        shutil.copytree(tmp_path / shop, copy / shop)
        subprocess.run(command, cwd=copy, input=found.patch, text=True, check=True)  # noqa: S603  # our own patch
        for change in found.changes:
            assert (copy / change.file.relative).read_text() == change.after


def test_what_is_not_declared_is_named(tmp_path: Path) -> None:
    """With what there is."""
    shop = build(tmp_path, "shop_unknown")
    with pytest.raises(UnknownMigrationError, match="new-price, new-till"):
        one_declared("newer-price", f"{shop}.declared:MIGRATIONS", tmp_path)
    for where in ("nowhere", f"{shop}.declared:PRICE", f"{shop}.absent:MIGRATIONS"):
        with pytest.raises(DeclarationsNotFoundError, match=r"MIGRATIONS|PRICE|nowhere"):
            declared(where, tmp_path)


def test_the_example_is_green_without_its_migration(tmp_path: Path) -> None:
    """The patch is applied to the example; the example's own tests pass, and nothing of legacy is left."""
    copy = tmp_path / "invoices"
    shutil.copytree(ROOT / "examples" / "invoices", copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    run(copy, "-m", "shim.cli", "remove", "new-invoices", "--apply")
    run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert "urllib" not in (copy / "billing" / "invoices.py").read_text()


def run(folder: Path, *arguments: str) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": f"{folder}:{ROOT}"}
    done = subprocess.run(  # noqa: S603  # our own programs
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
