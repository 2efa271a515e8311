"""Turns what went wrong into one line with what to do, and an exit code."""

from __future__ import annotations

from shim.cli.exits import ExitCode


class CommandError(Exception):
    """A command cannot go on; the message says why and what to do."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        self.code = code
        super().__init__(message)


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
    from shim.errors import ConfigurationError, ShimError  # noqa: PLC0415
    from shim.removal.sources import UnknownMigrationError  # noqa: PLC0415
    from tools.sandbox import SandboxError  # noqa: PLC0415

    match error:
        case ConfigurationError() | ObservabilityError():
            code = ExitCode.CONFIGURATION
        case FlagError() if isinstance(error, ValueError):  # a name or a percentage that cannot be one
            code = ExitCode.USAGE
        case FlagError():
            code = ExitCode.FLAGS
        case UnknownMigrationError():
            code = ExitCode.USAGE
        case SandboxError():
            code = ExitCode.SANDBOX
        case ShimError() | MigrationError() | OSError():
            code = ExitCode.FAILED
        case _:
            kind = type(error).__name__
            return ExitCode.FAILED, f" (an unexpected {kind}; `shim --debug ...` shows where it comes from)"
    return code, ""
