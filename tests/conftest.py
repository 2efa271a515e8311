"""Fixtures shared by every room come from `tests/support`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator

import hypothesis
import pytest

# a shell lets what it starts in the background ignore Ctrl-C, and every program that a test starts would inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)

# time is no property of the code: a busy machine must not fail a test
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")

pytest_plugins = (
    "pytester",
    "tests.support.monolith",
    "tests.support.command_line",  # it builds upon the one before
    "tests.support.prometheus",
    "tests.support.sandbox",
    "tests.support.supabase",
    "tests.support.unleash",
    "tests.support.fleet",  # it builds upon the one before
)

_MEASURED = "measured"


@pytest.fixture(autouse=True)
def _no_journal_stays_open() -> Iterator[None]:
    """Each test has a home of its own; what the journals there hold open would add up."""
    yield
    journals = sys.modules.get("tools.journal.factory")
    if journals is not None:
        journals.close_journals()


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Report a measured figure: it stands in the summary after the tests, whether they pass or not."""
    # a property of the test travels with its report, from whichever process has run it
    return lambda figure: request.node.user_properties.append((_MEASURED, f"{request.node.name}: {figure}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured."""
    reports = (report for reports in terminalreporter.stats.values() for report in reports)
    figures = {
        figure: None  # the reports of a test's set-up, call and end carry the same
        for report in reports
        for name, figure in getattr(report, "user_properties", ())
        if name == _MEASURED
    }
    if figures:
        terminalreporter.section("measured in this run")
        for figure in figures:
            terminalreporter.line(figure)
