"""The callable in front of a legacy function, how it is put there, and what the migrations of a process share."""

from migration.routing.install import BypassWarning, install, migrate, uninstall
from migration.routing.runtime import (
    AlwaysLegacy,
    Runtime,
    call_blocking,
    current_runtime,
    temporary_runtime,
    use_runtime,
)
from migration.routing.shim import BoundShim, Shim

__all__ = [
    "AlwaysLegacy",
    "BoundShim",
    "BypassWarning",
    "Runtime",
    "Shim",
    "call_blocking",
    "current_runtime",
    "install",
    "migrate",
    "temporary_runtime",
    "uninstall",
    "use_runtime",
]
