"""The pytest plugin, in test suites of its own: a mismatch fails the test and says what differs."""

from __future__ import annotations

import subprocess
import sys

import pytest

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
pythonpath = .
migrations = shop:MIGRATIONS
filterwarnings =
    error
"""

SHOP = """
from contextlib import asynccontextmanager, contextmanager
from migration import Migration

class Rehearsal:
    def __init__(self, call):
        self.args, self.kwargs = call.args, call.kwargs
    def seen(self):
        return []

class ReplayRecording:
    def __init__(self, call):
        self.call = call
    def refusal(self):
        return "nothing of this size" if self.call.args[0] > 999 else None
    def stale(self):
        return False
    def size(self):
        return 0
    @asynccontextmanager
    async def rehearse(self, side):
        yield Rehearsal(self.call)

class Replay:
    @contextmanager
    def record(self, call):
        yield ReplayRecording(call)

def price(amount):
    return {"amount": amount, "total": amount * 2}

async def new_price(amount):
    return {"amount": amount, "total": amount * 2 if amount != 13 else "26"}

MIGRATIONS = {
    "shop:price": Migration(name="new-price", candidate="shop:new_price", replay=Replay(), masked=("result.at",)),
}
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An empty suite of a shop whose prices are being migrated."""
    monkeypatch.delenv("CI", raising=False)  # with it, pytest repeats whole messages in its summary
    pytester.makeini(INI)
    pytester.makepyfile(shop=SHOP)
    pytester.makeconftest("pytest_plugins = ['migration.testing.plugin']")
    return pytester


def test_a_marked_test_fails_on_a_mismatch(suite: pytest.Pytester) -> None:
    """Field by field, with the place of the call; what matches passes, and what is not marked is not compared."""
    suite.makepyfile(
        """
        import pytest, shop

        @pytest.mark.compare_migrations
        def test_good():
            assert shop.price(1)["total"] == 2

        @pytest.mark.compare_migrations
        def test_bad():
            shop.price(13)

        def test_unmarked():
            assert shop.price(13)["total"] == 26
        """
    )
    result = suite.runpytest()
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "1 compared call did not match",
            "shop:price is different",
            "  called at *test_a_marked_test_fails_on_a_mismatch.py:9",
            "  result.total",
            "    legacy:    26",
            "    candidate: '26'",
            "*compared calls*",
            "1 identical, 1 different",
            "a mask that named no field: shop:price: result.at",
        ]
    )
    assert result.stdout.str().count("shop:price is different") == 1


@pytest.mark.parametrize("side", ["legacy", "candidate"])
def test_a_whole_suite_can_be_compared(suite: pytest.Pytester, side: str) -> None:
    """One option compares every call of every test, and says who answers."""
    suite.makepyfile(
        f"""
        import shop

        def test_good():
            assert shop.price(1)["total"] == 2

        def test_bad():
            assert type(shop.price(13)["total"]).__name__ == {"int" if side == "legacy" else "str"!r}
        """
    )
    suite.runpytest().assert_outcomes(passed=1 if side == "candidate" else 2, failed=side == "candidate")
    suite.runpytest(f"--compare-migrations={side}").assert_outcomes(passed=1, failed=1)


def test_asynchronous_tests_are_compared(suite: pytest.Pytester) -> None:
    """Awaited calls, calls side by side, calls in threads, and synchronous ones inside a loop."""
    suite.makepyfile(
        """
        import asyncio, pytest, shop

        pytestmark = pytest.mark.compare_migrations

        async def test_good(compared_migrations):
            await asyncio.gather(*(shop.price.aio(number) for number in range(5)))
            await asyncio.to_thread(shop.price, 6)
            assert [found.verdict for found in compared_migrations.comparisons] == ["identical"] * 6

        async def test_bad():
            await shop.price.aio(13)

        async def test_bad_in_a_thread():
            await asyncio.to_thread(shop.price, 13)
        """
    )
    result = suite.runpytest()
    result.assert_outcomes(passed=1, failed=2)


def test_a_call_is_compared_before_it_returns(suite: pytest.Pytester) -> None:
    """The test may look at the comparison at once, change who serves, and compare nothing for a while."""
    suite.makepyfile(
        """
        import shop
        from migration import Side

        def test_it(compared_migrations):
            shop.price(13)
            [found] = compared_migrations.comparisons
            assert found.verdict == "different"
            compared_migrations.router.serve = Side.CANDIDATE
            assert shop.price(13)["total"] == "26"
            compared_migrations.router.shadow = False
            shop.price(13)
            assert len(compared_migrations.comparisons) == 2
        """
    )
    result = suite.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["2 compared calls did not match"])


def test_a_test_that_fails_by_itself_shows_mismatches_too(suite: pytest.Pytester) -> None:
    """Its own error stays the error; what did not match stands in a section of the report."""
    suite.makepyfile(
        """
        import shop

        def test_it(compared_migrations):
            shop.price(13)
            assert 1 == 2
        """
    )
    result = suite.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert 1 == 2*", "*compared calls*", "*shop:price is different*"])


def test_what_cannot_be_compared_is_said(suite: pytest.Pytester) -> None:
    """It fails a test that asked to be compared, and is listed when a whole suite was asked to."""
    suite.makepyfile(
        """
        import pytest, shop

        @pytest.mark.compare_migrations(strict=False)
        def test_lenient():
            shop.price(1000)

        @pytest.mark.compare_migrations
        def test_strict():
            shop.price(1000)
        """
    )
    result = suite.runpytest()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "shop:price is dropped: nothing of this size",
            "2 dropped",
            "not compared (2): shop:price: nothing of this size",
        ]
    )


def test_a_mismatch_after_the_test_is_an_error(suite: pytest.Pytester) -> None:
    """Fixtures that clean up are compared as well."""
    suite.makepyfile(
        """
        import pytest, shop

        @pytest.fixture
        def shopping(compared_migrations):
            yield
            shop.price(13)

        def test_it(shopping):
            shop.price(1)
        """
    )
    suite.runpytest().assert_outcomes(passed=1, errors=1)


def test_everything_is_as_before_afterwards(suite: pytest.Pytester) -> None:
    """The function stands where it stood, a migration that a suite installed itself stays, decorated ones are seen."""
    suite.makepyfile(
        """
        import pytest, shop
        from migration import install, migrate, uninstall
        from migration.routing import current_runtime

        bare, runtime = shop.price, current_runtime()
        decorated = migrate(shop.MIGRATIONS["shop:price"])(bare)

        @pytest.mark.compare_migrations
        def test_during():
            assert shop.price is not bare and current_runtime() is not runtime

        def test_after():
            assert shop.price is bare and current_runtime() is runtime

        def test_a_bad_decorated_one(compared_migrations):
            decorated(13)

        def test_installed_by_the_suite():
            install("shop:price", shop.MIGRATIONS["shop:price"])

        def test_a_bad_installed_one(compared_migrations):
            shop.price(13)

        def test_it_stays():
            assert shop.price is not bare
            uninstall("shop:price")
        """
    )
    result = suite.runpytest()
    result.assert_outcomes(passed=4, failed=2)


@pytest.mark.parametrize(
    ("where", "problem"),
    [("shop", "must be 'pkg.mod:NAME'"), ("shop:nothing", "no attribute"), ("no_such:THING", "No module named")],
)
def test_a_wrong_configuration_is_said(suite: pytest.Pytester, where: str, problem: str) -> None:
    """With the value and what is wrong with it."""
    suite.makepyfile("def test_it(compared_migrations): pass")
    result = suite.runpytest("-o", f"migrations={where}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{problem}*"])


def test_the_package_does_not_need_pytest() -> None:
    """Only the plugin imports it."""
    program = (
        "import sys, migration, migration.testing; assert 'pytest' not in sys.modules and 'pluggy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603  # a program of the test's own
