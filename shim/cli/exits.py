"""How a command ends: the exit codes, and one line for whatever went wrong."""

from __future__ import annotations

from enum import IntEnum

from shim.errors import ShimError


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIGURATION = 3
    FLAGS = 4
    SANDBOX = 5
    DIFFERENT = 6
    LEFT = 7
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "everything was done",
    ExitCode.FAILED: "something that was asked for could not be done",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.CONFIGURATION: "an environment variable has a wrong value or is missing",
    ExitCode.FLAGS: "the flags cannot be reached, read or written",
    ExitCode.SANDBOX: "the local sandbox cannot be used",
    ExitCode.DIFFERENT: "the two implementations differ (`compare`, `mismatches --check`)",
    ExitCode.LEFT: "something is left to be reconciled (`reconcile`)",
    ExitCode.INTERRUPTED: "interrupted",
}


class CommandError(ShimError):
    """A command cannot go on; the message says why and what to do."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        self.code = code
        super().__init__(message)


def exit_codes_help() -> str:
    """The meanings as a list, for the end of the help."""
    lines = [f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items()]
    return "\b\n" + "\n".join(["Exit codes:", *lines])


def explain(error: Exception) -> CommandError:
    """The error as the person at the terminal is to see it."""
    if isinstance(error, CommandError):
        return error
    code, advice = _judge(error)
    return CommandError(" ".join(f"{error}{advice}".split()), code)


def _judge(error: Exception) -> tuple[ExitCode, str]:
    # imported when something went wrong, so that the commands that need none of these begin at once
    from flags import FlagError  # noqa: PLC0415
    from migration import MigrationError  # noqa: PLC0415
    from observability import ObservabilityError  # noqa: PLC0415

    match error:
        case ShimError():
            return ExitCode(error.exit_code), ""
        case ObservabilityError():
            return ExitCode.CONFIGURATION, ""
        case FlagError():  # a ValueError is a name or a percentage that cannot be one
            return (ExitCode.USAGE if isinstance(error, ValueError) else ExitCode.FLAGS), ""
        case MigrationError() | OSError():
            return ExitCode.FAILED, ""
        case _:
            kind = type(error).__name__
            return ExitCode.FAILED, f" (an unexpected {kind}; `shim --debug ...` shows where it comes from)"
