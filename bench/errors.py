"""What can go wrong with a benchmark."""

from __future__ import annotations


class BenchError(Exception):
    """Base of all errors of this package; the text says what happened and what to do."""


class MissingProgramError(BenchError):
    """A program that is needed is neither there nor could it be installed."""

    def __init__(self, program: str, *, package: str, reason: str) -> None:
        self.program = program
        super().__init__(f"{program} is missing and could not be installed ({reason}); install Debian's {package}")


class SinkError(BenchError):
    """The server that takes the uploads does not work."""


class UnknownRowError(BenchError):
    """`--only` names something that is not there."""

    def __init__(self, names: set[str], known: list[str]) -> None:
        super().__init__(f"there is no {', '.join(sorted(names))}; there are {', '.join(known)}")


class NoResultsError(BenchError):
    """There are no results to make a page of."""


class RunFailedError(BenchError):
    """A contender did not do its work; it is disqualified."""
