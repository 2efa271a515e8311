"""What drills have measured, and the file in which it is kept."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from shim.errors import ShimError

KEEP_DRILLS = 1_000
"""Drills that are kept; the oldest go first."""


class DrillHistoryError(ShimError):
    """The history cannot be read or written."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"the history of drills {path} cannot be used: {problem}; move it away, a new one is made")


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillResult:
    """The measures of one drill. Times are seconds since the first call that was misrouted began.

    Attributes:
        at: when the drill began, seconds since the epoch.
        migration: which migration.
        fault: what went wrong.
        percent: share of the calls that the candidate got.
        severity: percent of these that went wrong.
        flags: where the flags were: `a file`, or the server's address.
        calls: how many were made while the share was in force or just had been.
        misrouted: how many of them the candidate served.
        failed: how many failed, as their callers were told.
        decided: when the guard decided; None if it did not.
        last_begun: when the last misrouted call began.
        last_ended: when the last one ended.
        begun_later: misrouted calls that began after the decision.
        flag_off: when the flag was off for every process; None if it was not.
        legacy_after: calls that legacy served in a row at the end.
        rule: the rule by which the guard decided.
        sentence: the decision in words, or why there is none.
        seconds: what the drill took in all.
    """

    at: float
    migration: str
    fault: str
    percent: int
    severity: int
    flags: str
    calls: int
    misrouted: int
    failed: int
    decided: float | None
    last_begun: float
    last_ended: float
    begun_later: int
    flag_off: float | None
    legacy_after: int
    rule: str | None
    sentence: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether legacy serves again, in this process and by the flag."""
        return self.decided is not None and self.flag_off is not None and self.legacy_after > 0


class DrillHistory:
    """The drills so far, a line each; the file (0600) is made, with its folder, when the first drill is kept."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, result: DrillResult) -> None:
        """Keep a drill.

        Raises:
            DrillHistoryError: it cannot be kept.
        """
        with self._locked() as file:
            lines = [*file.read().splitlines(), json.dumps(asdict(result)).encode()][-KEEP_DRILLS:]
            file.seek(0)
            file.write(b"".join(line + b"\n" for line in lines))
            file.truncate()

    def drills(self, migration: str | None = None) -> list[DrillResult]:
        """All drills, or those of one migration, newest first.

        Raises:
            DrillHistoryError: the file cannot be read, or is none of these.
        """
        if not self._path.exists():
            return []
        with self._locked() as file:
            try:
                drills = [_drill_of(json.loads(line)) for line in file.read().splitlines()]
            except (ValueError, TypeError, AttributeError) as error:
                raise DrillHistoryError(self._path, f"a line of it is no drill ({error})") from error
        return [drill for drill in reversed(drills) if migration in {None, drill.migration}]

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield file
        except OSError as error:
            raise DrillHistoryError(self._path, str(error)) from error


def _drill_of(document: dict[str, Any]) -> DrillResult:
    """A kept drill; earlier versions said `uploads` for `calls`."""
    calls = {"calls": document.pop("uploads")} if "uploads" in document else {}
    return DrillResult(**document, **calls)
