"""The drills so far: one line of JSON each, in a file of `SHIM_HOME`."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from tools.drill.result import DrillResult
from tools.errors import ToolsError

KEEP_DRILLS = 1_000
"""Drills that are kept; the oldest go first."""


class DrillHistoryError(ToolsError):
    """The history cannot be read or written."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"the history of drills {path} cannot be used: {problem}; move it away, a new one is made")


class DrillHistory:
    """The file; made, with its folder, when the first drill is kept (0600)."""

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
                drills = [DrillResult(**json.loads(line)) for line in file.read().splitlines()]
            except (ValueError, TypeError) as error:
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
