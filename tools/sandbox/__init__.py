"""Loopback stand-ins of Kimi, GLM and Supabase, with switches for everything that goes wrong in the field."""

from tools.sandbox.client import RunningSandbox
from tools.sandbox.errors import InvalidFaultError, SandboxControlError, SandboxError, SandboxStartError
from tools.sandbox.faults import Fault, FaultKind, ServiceName
from tools.sandbox.glm import PARSER_PURPOSE
from tools.sandbox.limits import Limits
from tools.sandbox.process import running_sandbox
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
