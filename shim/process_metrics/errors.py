"""The error of the vitals."""

from __future__ import annotations

from pathlib import Path

from tools.errors import ToolsError


class VitalsError(ToolsError):
    """The file of the vitals cannot be used."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"the vitals ({path}) cannot be used: {problem}; the file can be deleted, a new one is made")
