"""The errors of the journal, one tree."""

from __future__ import annotations

from tools.errors import ToolsError


class JournalError(ToolsError):
    """The journal cannot be used."""

    def __init__(self, where: str, problem: str) -> None:
        self.where = where
        self.problem = problem
        super().__init__(f"the journal of uploads ({where}) cannot be used: {problem}")


class ClaimTimeoutError(ToolsError):
    """Another upload of the same content did not end in time; nothing was sent to the provider."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"another upload of the same content did not end within {seconds:g} s, so it was not sent")
