"""The errors of the library.

MigrationError
├── DeclarationError                  a migration is declared or installed in a way that cannot work
│   └── TargetNotFoundError
├── CandidateUnavailableError         the candidate could not be imported or called; legacy serves
├── LoopUnavailableError              the background event loop takes no work; legacy serves
│   ├── LoopClosedError
│   └── HomeEndedError
├── CandidateCancelledError           the candidate was cancelled; its outcome is unknown
├── AwaitInsteadError                 a blocking call that would wait for itself
├── IncompleteFactsError              a result is too large to be called identical
│   └── IncomparableFactsError        a result contains what cannot be compared
├── UnfollowedError                   a side leaves something running, and may not be run again
├── TrialRefusedError                 a call must not have a live shadow
├── ExposureError (and ValueError)    a share of the calls cannot be set
├── RolloutError                      a rollout cannot do what it was asked
└── StoreError                        the state of the machine cannot be read or written
└── StoreRefusedError
"""

from __future__ import annotations


class MigrationError(Exception):
    """Base of every error that this package raises."""


class DeclarationError(MigrationError):
    """A migration is declared or installed in a way that cannot work."""


class IncompleteFactsError(MigrationError):
    """A result is too large to be compared in full, and what was compared of it is the same."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}; declare `facts=` that say what of the result has to be the same")


class IncomparableFactsError(IncompleteFactsError):
    """A result contains what equals only itself, or does not say whether it is equal: a stream, an array."""


class TargetNotFoundError(DeclarationError):
    """The function that a migration is to be put in front of does not exist."""

    def __init__(self, target: str, problem: str) -> None:
        self.target = target
        super().__init__(
            f"cannot install a migration at {target!r}: {problem}; expected 'pkg.mod:func' or 'pkg.mod:Class.method'"
        )


class CandidateUnavailableError(MigrationError):
    """The candidate could not be imported or called; nothing of it has run."""

    def __init__(self, candidate: str, cause: BaseException) -> None:
        self.candidate = candidate
        self.reason = cause
        super().__init__(f"candidate {candidate!r} is unavailable: {type(cause).__name__}: {cause}")


class LoopUnavailableError(MigrationError):
    """The background event loop takes no work; nothing of what it was given has run."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"the background event loop {name!r} takes no work: {problem}")


class LoopClosedError(LoopUnavailableError):
    """The process is ending."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "the process is shutting down")


class HomeEndedError(LoopUnavailableError):
    """The event loop on which an asynchronous legacy was called has ended, and with it what ran there."""

    def __init__(self) -> None:
        super().__init__("of the caller", "it has ended")


class AwaitInsteadError(MigrationError):
    """A blocking call from the background event loop, which would wait for itself."""

    def __init__(self, function: str) -> None:
        super().__init__(f"{function} was called synchronously on the background event loop; await it there")


class CandidateCancelledError(MigrationError):
    """The candidate was cancelled, as when the process ends; whether its work was done is unknown."""

    def __init__(self, migration: str) -> None:
        super().__init__(f"{migration}: the candidate was cancelled, as when a process ends; its outcome is unknown")


class UnfollowedError(MigrationError):
    """A side has ended and left something running that may work for callers later; the text says what."""


class TrialRefusedError(MigrationError):
    """A call must not have a live shadow; the text says why."""


class ExposureError(MigrationError, ValueError):
    """A share of the calls cannot be set exactly."""

    def __init__(self, share: object) -> None:
        self.share = share
        super().__init__(f"{share!r} is no share: use a whole percentage from 0 to 100, or hundredths below 1 (0.05)")


class RolloutError(MigrationError):
    """A rollout cannot do what it was asked; the text says why and what to do."""


class StoreError(MigrationError):
    """The file in which the processes of a machine keep their state cannot be read or written."""

    def __init__(self, path: object, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"the state in {path} cannot be used: {problem}")


class StoreRefusedError(StoreError):
    """There is state that this program cannot take up, so what it says is unknown; legacy serves meanwhile."""
