"""What can go wrong around the sandbox. What its services refuse is an HTTP answer, not one of these."""

from __future__ import annotations

from tools.errors import ToolsError


class SandboxError(ToolsError):
    """Base of the sandbox's errors."""


class SandboxStartError(SandboxError):
    """The sandbox process did not come up."""

    def __init__(self, reason: str, *, log: str = "") -> None:
        self.log = log
        super().__init__(f"the sandbox did not start: {reason}" + (f"\n{log}" if log else ""))


class SandboxControlError(SandboxError):
    """The sandbox refused a control request, or could not be reached."""

    def __init__(self, request: str, reason: str) -> None:
        self.request = request
        super().__init__(f"the sandbox did not carry out {request}: {reason}")


class InvalidFaultError(SandboxError, ValueError):
    """A fault is described in a way that means nothing."""
