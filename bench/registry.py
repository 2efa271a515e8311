"""All benchmarks, in the order in which they run and are shown."""

from __future__ import annotations

import importlib
from types import ModuleType

from bench.harness import Growth, Row, Scale

MODULES = (
    "bench.large",
    "bench.crowds",
    "bench.small",
    "bench.growing",
    "bench.routing",
    "bench.shadowing",
)
"""Modules with `rows(scale) -> Sequence[Row]` or `growths(scale) -> Sequence[Growth]`, or both."""


def all_rows(scale: Scale) -> list[Row]:
    """The rows of all modules."""
    return [row for module in _having("rows") for row in module.rows(scale)]


def all_growths(scale: Scale) -> list[Growth]:
    """The growths of all modules."""
    return [growth for module in _having("growths") for growth in module.growths(scale)]


def _having(function: str) -> list[ModuleType]:
    return [module for module in map(importlib.import_module, MODULES) if hasattr(module, function)]
