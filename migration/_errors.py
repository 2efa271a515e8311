"""The errors of the core, one tree."""

from __future__ import annotations


class MigrationError(Exception):
    """Base of every error that this package raises."""


class DeclarationError(MigrationError):
    """A migration is declared or installed in a way that cannot work."""


class TargetNotFoundError(DeclarationError):
    """The function that a migration is to be put in front of does not exist."""

    def __init__(self, target: str, problem: str) -> None:
        self.target = target
        super().__init__(
            f"cannot install a migration at {target!r}: {problem}; expected 'pkg.mod:func' or 'pkg.mod:Class.method'"
        )


class CandidateUnavailableError(MigrationError):
    """The new implementation could not be imported or called; nothing of it has run."""

    def __init__(self, candidate: str, cause: BaseException) -> None:
        self.candidate = candidate
        self.reason = cause
        super().__init__(f"candidate {candidate!r} is unavailable: {type(cause).__name__}: {cause}")


class LoopClosedError(MigrationError):
    """The background event loop takes no more work because the process is ending."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the background event loop {name!r} is closed: the process is shutting down")


class CandidateCancelledError(MigrationError):
    """The candidate was cut off, as when the process is ending; whether its work was done is unknown."""

    def __init__(self, migration: str) -> None:
        super().__init__(f"{migration}: the candidate was cancelled, as when a process ends; its outcome is unknown")


class LedgerError(MigrationError):
    """The ledger cannot be read or written."""

    def __init__(self, path: object, problem: str) -> None:
        super().__init__(f"the ledger {path} cannot be used: {problem}")
