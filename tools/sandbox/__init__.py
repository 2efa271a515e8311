"""Loopback stand-ins of the providers and of Supabase, with switches for everything that goes wrong in the field."""

from tools.sandbox.faults import (
    SUPABASE,
    Fault,
    FaultKind,
    InvalidFaultError,
    Limits,
    SandboxControlError,
    SandboxError,
    SandboxStartError,
)
from tools.sandbox.process import RunningSandbox, running_sandbox
from tools.sandbox.providers import PARSER_PURPOSE
from tools.sandbox.server import SandboxServer

__all__ = [
    "PARSER_PURPOSE",
    "SUPABASE",
    "Fault",
    "FaultKind",
    "InvalidFaultError",
    "Limits",
    "RunningSandbox",
    "SandboxControlError",
    "SandboxError",
    "SandboxServer",
    "SandboxStartError",
    "running_sandbox",
]
