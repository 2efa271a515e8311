"""A pytest plugin: every migrated call of a test is run on both sides and compared, and a mismatch fails the test.

Switch it on with `pytest_plugins = ["migration.testing.plugin"]` in the topmost conftest (or `-p`), name what is
migrated in the configuration (`migrations = "shop.migrations:MIGRATIONS"`, a mapping of targets to declarations; not
needed for functions that are decorated), and mark tests with `@pytest.mark.compare_migrations`. The option
`--compare-migrations=legacy` (or `=candidate`: who answers) does it for a whole suite. A call that cannot be compared
fails a marked test (unless `strict=False`); of a whole suite such calls are listed at the end.
"""

from __future__ import annotations

import importlib
import inspect
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from operator import attrgetter

import pytest

from migration.model.declaration import Migration
from migration.model.model import Comparison, Side, Verdict
from migration.routing.install import install, owner_of, uninstall
from migration.routing.runtime import Runtime, in_force
from migration.routing.shim import Shim
from migration.shadow.admission import ShadowLimits
from migration.shadow.comparing import MISMATCHES
from migration.shadow.isolated import Shadow
from migration.shadow.runner import ShadowRunner
from migration.testing.fakes import FixedRouter, RecordingObserver

MAX_LISTED = 20
"""Mismatches that one message shows in full."""

_SLACK_SECONDS = 1.0
"""A comparison that reaches its deadline ends shortly after it."""

UNCOMPARED = frozenset({Verdict.DROPPED, Verdict.STALE_INPUT})
"""The verdicts that say nothing about the two sides."""


class MismatchError(AssertionError):
    """Calls were compared, and both sides did not do the same (or, if that counts, could not be compared)."""

    def __init__(self, comparisons: Sequence[Comparison]) -> None:
        self.comparisons = tuple(comparisons)
        super().__init__(report(comparisons))


@dataclass(slots=True)
class Compared:
    """The calls of one test, as they are compared.

    Attributes:
        router: who serves; change `router.serve` to let the other side answer, `router.shadow` to compare nothing.
        observer: everything that was seen.
        runtime: where candidates run; `runtime.loop.on_close` and `runtime.shadows.loop.on_close` take what closes the
            resources that they keep for a loop.
        strict: whether a call that could not be compared counts as a mismatch.
    """

    router: FixedRouter
    observer: RecordingObserver
    runtime: Runtime
    strict: bool = False
    _checked: int = field(default=0, repr=False)

    @property
    def comparisons(self) -> Sequence[Comparison]:
        """What was compared so far, in order."""
        return self.observer.comparisons

    def check(self) -> None:
        """Raise for mismatches since the last check.

        Raises:
            MismatchError: there are some.
        """
        fresh = self.observer.comparisons[self._checked :]
        self._checked += len(fresh)
        counted = MISMATCHES | UNCOMPARED if self.strict else MISMATCHES
        found = [comparison for comparison in fresh if comparison.verdict in counted]
        if found:
            raise MismatchError(found)


class _AtOnce(ShadowRunner):
    """Compares a call before its caller goes on, so that the caller cannot change what is compared."""

    def submit(self, shadow: Shadow) -> None:
        """Take a sampled call and wait for its comparison."""
        super().submit(shadow)
        self.drain(self.limits.seconds + _SLACK_SECONDS)


@contextmanager
def comparing(
    migrations: Mapping[str, Migration] | None = None,
    *,
    serve: Side = Side.LEGACY,
    strict: bool = False,
    seconds: float = 60.0,
) -> Iterator[Compared]:
    """Compare every migrated call made meanwhile, before it returns, and raise at the end if one did not match.

    The runtime of the process is another one meanwhile; shims that were given a runtime of their own are not touched.

    Args:
        migrations: what to put in place first, by target, as for `install`; what stands there already stays.
        serve: the side that answers.
        strict: a call that could not be compared counts as a mismatch.
        seconds: how long one comparison may take.

    Raises:
        MismatchError: calls did not match, and nothing else was raised.
    """
    router, observer = FixedRouter(serve=serve, shadow=True), RecordingObserver()
    runtime = Runtime(router=router, observers=[observer])
    runtime.shadows = _AtOnce(observers=runtime.observers, limits=ShadowLimits(seconds=seconds, patience=0.0))
    with ExitStack() as stack:
        stack.callback(runtime.close)
        stack.enter_context(in_force(runtime))
        for target, migration in (migrations or {}).items():
            if not _is_migrated(target):
                install(target, migration)
                stack.callback(uninstall, target)
        compared = Compared(router, observer, runtime, strict=strict)
        yield compared
    compared.check()


def report(comparisons: Sequence[Comparison]) -> str:
    """Mismatches for a reader: who called what, and field by field what either side did."""
    lines = [f"{len(comparisons)} compared call{'s' if len(comparisons) > 1 else ''} did not match"]
    for comparison in comparisons[:MAX_LISTED]:
        site = comparison.call.site
        detail = f": {comparison.detail}" if comparison.detail else ""
        lines += [
            "",
            f"{comparison.call.function} is {comparison.verdict}{detail}",
            f"  called at {site.file}:{site.line}",
        ]
        for difference in comparison.differences:
            lines += [
                f"  {difference.field}",
                f"    legacy:    {difference.legacy}",
                f"    candidate: {difference.candidate}",
            ]
    if len(comparisons) > MAX_LISTED:
        lines += ["", f"and {len(comparisons) - MAX_LISTED} more"]
    return "\n".join(lines)


def _is_migrated(target: str) -> bool:
    owner, name = owner_of(target)
    found = inspect.getattr_static(owner, name, None)
    return isinstance(getattr(found, "__func__", found), Shim)


# A pytest plugin: every migrated call of a test is run on both sides and compared, and a mismatch fails the test.

MARKER = "compare_migrations"

_COMPARED = pytest.StashKey[Compared]()
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
        if comparison.verdict in UNCOMPARED:
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
def compared_migrations(request: pytest.FixtureRequest) -> Iterator[Compared]:
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


def _mismatches(compared: Compared) -> str | None:
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
