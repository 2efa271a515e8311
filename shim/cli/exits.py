"""What the exit codes mean."""

from __future__ import annotations

from enum import IntEnum


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


def exit_codes_help() -> str:
    """The meanings as a list, for the end of the help."""
    lines = [f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items()]
    return "\b\n" + "\n".join(["Exit codes:", *lines])
