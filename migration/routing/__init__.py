"""The callable in front of a legacy function, how it is put there, and what the migrations of a process share."""

from migration.routing.install import install, migrate, shim_at, uninstall
from migration.routing.likeness import BoundShim
from migration.routing.runtime import (
    AlwaysLegacy,
    Runtime,
    call_blocking,
    current_runtime,
    temporary_runtime,
    use_runtime,
)
from migration.routing.shim import Shim

__all__ = [
    "AlwaysLegacy",
    "BoundShim",
    "Runtime",
    "Shim",
    "call_blocking",
    "current_runtime",
    "install",
    "migrate",
    "shim_at",
    "temporary_runtime",
    "uninstall",
    "use_runtime",
]
