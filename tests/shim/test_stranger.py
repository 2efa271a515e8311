"""A package of a stranger: twelve lines of wiring, and every operators' command works for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from migration import Call, Comparison, Decision, Reason, Side
from migration.model import CallSite, Verdict
from migration.store import Ledger
from tests.support.documents import ROOT

SECONDS = 120.0
NAME = "new-prices"

OLD = """
def price(amount):
    if amount < 0:
        raise ValueError("no price")
    return {"total": amount * 2}
"""
NEW = OLD.replace("def price", "async def price")
APP = """
from migration import Migration, ReadOnly
from shim import Application

app = Application(
    migrations={
        "shop.old:price": Migration(name="new-prices", candidate="shop.new:price", replay=ReadOnly()),
    },
)
"""
MAIN = """
import sys
from shop import old
from shop.app import app

with app.running() as installation:
    served = [old.price(amount)["total"] for amount in range(20)]
    installation.runtime.shadows.drain(20)
print(sum(served))
"""
PYPROJECT = '[tool.shim]\napp = "shop.app:app"\n'


class Stranger:
    """The package, and a shell in its folder."""

    def __init__(self, folder: Path, *, old: str = OLD, new: str = NEW, main: str = MAIN) -> None:
        self.folder = folder
        package = folder / "shop"
        package.mkdir(parents=True)
        for name, text in (("__init__", ""), ("old", old), ("new", new), ("app", APP), ("main", main)):
            (package / f"{name}.py").write_text(text)
        (folder / "pyproject.toml").write_text(PYPROJECT)
        self.home = folder / "state"
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)}
        self.environment["SHIM_HOME"] = str(self.home)

    def run(self, *words: str, code: int = 0, **variables: str) -> str:
        """Run a Python module to its end; its exit code must be this one."""
        done = subprocess.run(  # noqa: S603  # our own program
            [sys.executable, "-m", *words],
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == code, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout

    def shim(self, *words: str, code: int = 0, **variables: str) -> str:
        """Run a command."""
        return self.run("shim.cli", *words, code=code, **variables)

    def fails(self, *words: str, code: int = 2) -> str:
        """Run a command that must fail with this code; the one line that it says."""
        done = subprocess.run(  # noqa: S603  # our own program
            [sys.executable, "-m", "shim.cli", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        [line] = done.stderr.splitlines()
        return line

    def status(self) -> Any:
        """What `shim status` says of the migration."""
        [migration] = json.loads(self.shim("status", "--json"))["migrations"]
        return migration


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    return Stranger(tmp_path_factory.mktemp("stranger"))


def test_at_0_and_at_100_percent(stranger: Stranger) -> None:
    """A flags file decides, calls are compared, and the answers are the same."""
    stranger.shim("flags", "create")
    stranger.shim("flags", "set", f"{NAME}.shadow", "100")
    for percent, side in ((0, "legacy"), (100, "candidate")):
        stranger.shim("flags", "set", NAME, str(percent))
        assert stranger.run("shop.main").strip() == "380"
        assert stranger.status()["sides"][side]["calls"] == 20
    assert stranger.status()["verdicts"] == {"identical": 40}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("status",), 0, NAME),
        (("flags",), 0, NAME),
        (("flags", "show", NAME), 0, NAME),
        (("flags", "stage", NAME, "shadow"), 0, NAME),
        (("flags", "off", NAME, "--because", "a try"), 0, "off"),
        (("flags", "on", NAME), 0, "on"),
        (("decisions", NAME), 0, "turned off by"),
        (("explain", "1"), 0, NAME),
        (("replay", "1"), 0, "the same"),
        (("mismatches",), 0, "never differed"),
        (("mismatches", "--noise"), 0, ""),
        (("report", NAME), 0, "report.html"),
        (("callers",), 0, "main.py"),
        (("ready", NAME), 1, "legacy stays"),
        (("remove", NAME, "--dry-run"), 0, "--- a/shop/app.py"),
        (("rollout", "status", NAME), 1, ""),
        (("drill", "--history"), 0, "no drill yet"),
        (("resume", NAME, "--because", "it is fine"), 1, ""),
    ],
)
def test_every_command_works_for_it(stranger: Stranger, words: tuple[str, ...], code: int, said: str) -> None:
    """Nothing but the package's own `pyproject.toml` says what the commands work for."""
    assert said in stranger.shim(*words, code=code)


def test_a_drill(stranger: Stranger) -> None:
    """Its candidate goes wrong on purpose, and legacy serves again."""
    assert json.loads(stranger.shim("drill", NAME, "--percent", "50", "--json"))["ok"]


def test_a_rollout_begins(stranger: Stranger) -> None:
    """It puts the flag on its first stage, and an abort takes it back."""
    with subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-m", "shim.cli", "rollout", NAME, "--every", "0.1", "--json"],
        cwd=stranger.folder,
        env=stranger.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as rollout:
        assert rollout.stdout is not None
        assert json.loads(rollout.stdout.readline())["migration"] == NAME
        rollout.kill()
    stranger.shim("rollout", "abort", NAME)
    assert "taken back" in stranger.shim("rollout", "status", NAME)


def test_a_first_migration_is_written(tmp_path: Path) -> None:
    """`shim init` writes the declaration and says what to type next; that, typed, routes and compares calls."""
    new = NEW.replace("price(amount)", "price(amount, *, currency)")
    shop = Stranger(tmp_path / "shop", new=new, main=MAIN.replace("shop.app", "shop.migrations"))
    (shop.folder / "pyproject.toml").write_text('[project]\nname = "shop"\n')
    (shop.folder / "shop" / "app.py").unlink()
    said = json.loads(shop.shim("init", "shop.old:price", "shop.new:price", "--read-only", "--json"))
    assert said["missing"] == ["the candidate demands `currency`, which legacy does not know"]
    assert "exists" in shop.fails("init", "shop.old:price", "shop.new:price")
    (shop.folder / "shop" / "new.py").write_text(NEW)
    start, *commands, last = said["next"]
    assert start.endswith("from shop.migrations import app; app.start()")
    for command in commands:
        shop.shim(*command.partition("#")[0].split()[1:])
    assert shop.run("shop.main").strip() == "380"
    assert last == "shim status"
    assert "new-price" in shop.shim("status")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("shop.old:price", "shop.new:nothing"), "CANDIDATE shop.new:nothing cannot be used: there is no 'nothing'"),
        (("shop.old", "shop.new:price"), "LEGACY is 'shop.old'; write it as pkg.mod:func"),
        (("no.such:f", "shop.new:price"), "No module named"),
        (("shop.old:price", "shop.new:price", "--name", "a b"), "cannot be the name of a flag"),
        (("shop.old:price", "shop.new:price", "--file", "/elsewhere.py"), "name a .py file below"),
    ],
)
def test_what_cannot_be_declared_is_refused(stranger: Stranger, words: tuple[str, ...], said: str) -> None:
    """In one line, and nothing is written."""
    assert said in stranger.fails("init", *words)
    assert not (stranger.folder / "shop" / "migrations.py").exists()


SERVICE = """
import asyncio
import shop.app
from shop.old import price

async def total():
    return sum([(await price(amount))["total"] for amount in range(20)])

def main():
    return asyncio.run(total())
"""
BLOCKING_SERVICE = """
import shop.app
from shop.old import price

def main():
    return sum(price(amount)["total"] for amount in range(20))
"""
IMPORTED_EARLY = """
from shop.service import main
from shop.app import app

with app.running() as installation:
    print(main())
    installation.runtime.shadows.drain(20)
"""
BLOCKING_OLD = "import time\n" + OLD.replace("    return", "    time.sleep(0.001)\n    return")
ASYNCHRONOUS_OLD = BLOCKING_OLD.replace("def price", "async def price")


@pytest.mark.parametrize(
    ("old", "new", "service"),
    [
        (ASYNCHRONOUS_OLD, NEW, SERVICE),
        (ASYNCHRONOUS_OLD, OLD, SERVICE),
        (BLOCKING_OLD, OLD, BLOCKING_SERVICE),
        (BLOCKING_OLD, NEW, BLOCKING_SERVICE),
    ],
    ids=["both awaited", "legacy awaited", "neither awaited", "candidate awaited"],
)
def test_any_pair_of_functions(tmp_path: Path, old: str, new: str, service: str) -> None:
    """An unmodified code base that imported the function by name: routed, compared, traced to its callers, removed."""
    shop = Stranger(tmp_path / "shop", old=old, new=new, main=IMPORTED_EARLY)
    (shop.folder / "shop" / "service.py").write_text(service)
    shop.shim("flags", "create")
    shop.shim("flags", "set", f"{NAME}.shadow", "100")
    for percent in (0, 50, 100):
        shop.shim("flags", "set", NAME, str(percent))
        assert shop.run("shop.main").strip() == "380"
    status = shop.status()
    assert {side: each["calls"] > 0 for side, each in status["sides"].items()} == {"legacy": True, "candidate": True}
    assert status["verdicts"] == {"identical": 60}
    assert status["notices"] == {}
    callers = json.loads(shop.shim("callers", "--json"))["migrations"][NAME]
    assert {(each["file"], each["in_source"], each["blocks_a_loop"]) for each in callers} == {
        ("shop/service.py", "call", False)
    }
    shop.shim("remove", NAME, "--apply")
    (shop.folder / "shop" / "app.py").write_text("")
    program = (
        "from shop.service import main; import shop.old; assert main() == 380; assert 'time' not in vars(shop.old)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=shop.folder, env=shop.environment, check=True)  # noqa: S603


def test_another_way_to_name_it(stranger: Stranger, tmp_path: Path) -> None:
    """`--app` and `SHIM_APP` from anywhere; without any of the three ways the commands say so."""
    outside = Stranger(tmp_path / "outside")
    (outside.folder / "pyproject.toml").unlink()
    assert NAME in outside.shim("--app", "shop.app:app", "status")
    assert NAME in outside.shim("status", SHIM_APP="shop.app:app")
    for command in (("status",), ("flags", "create"), ("ready", NAME)):
        done = subprocess.run(  # noqa: S603  # our own program
            [sys.executable, "-m", "shim.cli", *command],
            cwd=outside.folder,
            env=outside.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 3, done.stderr
        [line] = done.stderr.splitlines()
        assert all(way in line for way in ("--app", "SHIM_APP", "[tool.shim]"))
    assert "Commands:" in outside.shim("--help")
    assert NAME in stranger.shim("decisions", SHIM_APP="no.such:app")  # what is on disk can be looked at all the same


def test_a_name_that_only_the_disk_knows(stranger: Stranger) -> None:
    """A migration that is declared no more can still be looked at."""
    site = CallSite(function="f", file="f.py", line=1)
    call = Call(migration="gone", function="m:f", call_id="c", args=(), kwargs={}, site=site)
    ledger = Ledger(stranger.home / "shim.db")
    ledger.compared(
        Comparison(call=call, decision=Decision(serve=Side.LEGACY, reason=Reason.STATIC), verdict=Verdict.DIFFERENT)
    )
    assert ledger.flush()
    assert "gone" in stranger.shim("status")
    assert "gone" in stranger.shim("report", "gone")
    assert stranger.shim("decisions", "gone")
    stranger.shim("decisions", "nothing", code=2)


@pytest.mark.parametrize("text", ["raise RuntimeError('broken')", "def (", "raise SystemExit(9)"])
def test_an_application_that_cannot_be_imported(tmp_path: Path, text: str) -> None:
    """The commands that need it end with 3 and a line that names it; help and looking at the disk still work."""
    broken = Stranger(tmp_path / "broken")
    (broken.folder / "shop" / "app.py").write_text(text)
    done = subprocess.run(  # our own program
        [sys.executable, "-m", "shim.cli", "flags", "create"],
        cwd=broken.folder,
        env=broken.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    [line] = done.stderr.splitlines()
    assert "shop.app:app" in line
    assert "Commands:" in broken.shim("--help")
