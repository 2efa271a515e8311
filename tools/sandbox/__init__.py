"""Loopback stand-ins of Kimi, GLM and Supabase, with switches for everything that goes wrong in the field."""

from tools.sandbox.faults import (
    Fault,
    FaultKind,
    InvalidFaultError,
    Limits,
    SandboxControlError,
    SandboxError,
    SandboxStartError,
    ServiceName,
)
from tools.sandbox.glm import PARSER_PURPOSE
from tools.sandbox.process import RunningSandbox, running_sandbox
from tools.sandbox.server import SandboxServer

__all__ = [
    "PARSER_PURPOSE",
    "Fault",
    "FaultKind",
    "InvalidFaultError",
    "Limits",
    "RunningSandbox",
    "SandboxControlError",
    "SandboxError",
    "SandboxServer",
    "SandboxStartError",
    "ServiceName",
    "running_sandbox",
]
