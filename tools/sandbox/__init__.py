"""Loopback stand-ins of Kimi, GLM and Supabase, with switches for everything that goes wrong in the field."""

from tools.sandbox._client import RunningSandbox
from tools.sandbox._errors import InvalidFaultError, SandboxControlError, SandboxError, SandboxStartError
from tools.sandbox._faults import Fault, FaultKind, ServiceName
from tools.sandbox._glm import PARSER_PURPOSE
from tools.sandbox._limits import Limits
from tools.sandbox._process import running_sandbox
from tools.sandbox._server import SandboxServer

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
