"""JUnit XML, the form in which build servers take test results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from shim.cli.errors import CommandError
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
    root = ET.Element("testsuites")
    totals = {
        "tests": str(len(cases)),
        "failures": str(sum(case.failure is not None for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.skipped is not None for case in cases)),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }
    element = ET.SubElement(root, "testsuite", {"name": suite, **totals})
    for case in cases:
        _add(element, case)
    ET.indent(root)
    try:
        ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from error


def _add(suite: ET.Element, case: JUnitCase) -> None:
    element = ET.SubElement(
        suite, "testcase", classname=_legal(case.group), name=_legal(case.name), time=f"{case.seconds:.3f}"
    )
    for tag, message in (("failure", case.failure), ("skipped", case.skipped)):
        if message is not None:
            ET.SubElement(element, tag, message=_legal(message)).text = _legal(case.text) or None


def _legal(text: str) -> str:
    """XML has no way to write most control characters, nor half ones."""
    return printable(text, keep="\n\t")
