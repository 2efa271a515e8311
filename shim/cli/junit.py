"""JUnit XML, the form in which build servers take test results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shim.cli.exits import CommandError
from shim.cli.output import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class JUnitCase:
    """One result.

    Attributes:
        group: what it belongs to, with dots (`classname`).
        name: what was tried.
        seconds: how long it took.
        failure: what is wrong, in one line; None when nothing is.
        skipped: why it says nothing; None when it does.
        text: the details of either.
    """

    group: str
    name: str
    seconds: float = 0.0
    failure: str | None = None
    skipped: str | None = None
    text: str = ""


def write_junit(path: Path, suite: str, cases: Sequence[JUnitCase]) -> None:
    """Write the results as one suite, over what is there.

    Raises:
        CommandError: the file cannot be written.
    """
    from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite  # noqa: PLC0415  # for those who ask for it

    found = TestSuite(suite)
    for case in cases:
        written = TestCase(_legal(case.name), _legal(case.group), case.seconds)
        for kind, message in ((Failure, case.failure), (Skipped, case.skipped)):
            if message is not None:
                result = kind(_legal(message))
                if case.text:
                    result.text = _legal(case.text)
                written.result = [result]
        found.add_testcase(written)
    report = JUnitXml()
    report.add_testsuite(found)
    try:
        report.write(str(path), pretty=True)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from error


def _legal(text: str) -> str:
    """XML has no way to write most control characters, nor half ones."""
    return printable(text, keep="\n\t")
