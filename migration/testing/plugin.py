"""A pytest plugin: every migrated call of a test is run on both sides and compared, and a mismatch fails the test.

Switch it on with `pytest_plugins = ["migration.testing.plugin"]` in the topmost conftest (or `-p`), name what is
migrated in the configuration (`migrations = "shop.migrations:MIGRATIONS"`, a mapping of targets to declarations; not
needed for functions that are decorated), and mark tests with `@pytest.mark.compare_migrations`. The option
`--compare-migrations=legacy` (or `=candidate`: who answers) does it for a whole suite. A call that cannot be compared
fails a marked test (unless `strict=False`); of a whole suite such calls are listed at the end.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from operator import attrgetter

import pytest

from migration.model.declaration import Migration
from migration.model.model import NOT_COMPARED, Comparison, Side
from migration.testing.comparing import ComparedCalls, MismatchError, comparing

MARKER = "compare_migrations"

_COMPARED = pytest.StashKey[ComparedCalls]()
_TALLY = pytest.StashKey["_Tally"]()


class _Tally:
    """What a whole run compared, for its summary; nothing of the calls themselves is kept."""

    def __init__(self) -> None:
        self.verdicts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self._compared: Counter[str] = Counter()
        self._unused: Counter[tuple[str, str]] = Counter()

    def add(self, comparison: Comparison) -> None:
        """Count one comparison."""
        function = comparison.call.function
        self.verdicts[comparison.verdict] += 1
        if comparison.verdict in NOT_COMPARED:
            self.reasons[f"{function}: {comparison.detail}"] += 1
            return
        self._compared[function] += 1
        self._unused.update((function, mask) for mask in comparison.unused_masks)

    @property
    def unused_masks(self) -> list[str]:
        """The masks that named no field of any compared call."""
        return [f"{function}: {mask}" for (function, mask), n in self._unused.items() if n == self._compared[function]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Who answers when a whole suite is compared, and what is migrated."""
    parser.addoption(
        "--compare-migrations",
        choices=[str(side) for side in Side],
        help="compare every migrated call of every test; the side named here answers",
    )
    parser.addini("migrations", "what to migrate in compared tests: 'pkg.mod:NAME' of a mapping of targets", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(serve='legacy', strict=True): compare every migrated call of this test; strict: one that cannot be "
        "compared fails it as well",
    )
    config.stash[_TALLY] = _Tally()


@pytest.fixture
def compared_migrations(request: pytest.FixtureRequest) -> Iterator[ComparedCalls]:
    """Every migrated call of the test is compared; who answers can be changed in it, and what was compared be read."""
    marker = request.node.get_closest_marker(MARKER)
    option = request.config.getoption("--compare-migrations")
    options = {"serve": option or Side.LEGACY, "strict": not option, **(marker.kwargs if marker else {})}
    with comparing(_declared(request.config), serve=Side(options.pop("serve")), **options) as compared:
        request.node.stash[_COMPARED] = compared
        yield compared
    for comparison in compared.comparisons:
        request.config.stash[_TALLY].add(comparison)


@pytest.fixture(autouse=True)
def _compare_migrations(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--compare-migrations") or request.node.get_closest_marker(MARKER):
        request.getfixturevalue("compared_migrations")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test whose calls did not match; one that fails by itself shows them as well."""
    try:
        result = yield
    except BaseException:
        mismatches = _mismatches(item.stash[_COMPARED]) if _COMPARED in item.stash else None
        if mismatches is not None:
            item.add_report_section("call", "compared calls", mismatches)
        raise
    mismatches = _mismatches(item.stash[_COMPARED]) if _COMPARED in item.stash else None
    if mismatches is not None:
        pytest.fail(mismatches, pytrace=False)
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was compared, what could not be, and which masks named nothing."""
    tally = config.stash[_TALLY]
    if not tally.verdicts:
        return
    terminalreporter.section("compared calls")
    terminalreporter.line(", ".join(f"{count} {verdict}" for verdict, count in tally.verdicts.most_common()))
    for reason, count in tally.reasons.most_common():
        terminalreporter.line(f"not compared ({count}): {reason}")
    for mask in tally.unused_masks:
        terminalreporter.line(f"a mask that named no field: {mask}")


def _mismatches(compared: ComparedCalls) -> str | None:
    """The mismatches since the last look, in words."""
    try:
        compared.check()
    except MismatchError as mismatch:
        return str(mismatch)
    return None


def _declared(config: pytest.Config) -> Mapping[str, Migration]:
    where = config.getini("migrations")
    if not where:
        return {}
    module, _, name = where.partition(":")
    try:
        found = attrgetter(name)(importlib.import_module(module)) if name else None
    except (ImportError, AttributeError) as error:
        raise pytest.UsageError(f"migrations = {where!r} cannot be used: {error}") from error
    if not isinstance(found, Mapping):
        raise pytest.UsageError(
            f"migrations = {where!r} must be 'pkg.mod:NAME' of a mapping of targets to declarations"
        )
    return found
