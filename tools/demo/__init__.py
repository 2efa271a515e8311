"""A demonstration on real files: from legacy to the asynchronous path step by step, and back by a flip of the flag."""

from tools.demo.demo import DemoPlan, run_demo
from tools.demo.results import (
    Account,
    Answer,
    BigUpload,
    Compared,
    DemoResult,
    DemoStage,
    Flip,
    Reporter,
    SideServed,
)
from tools.load import DemoError

__all__ = [
    "Account",
    "Answer",
    "BigUpload",
    "Compared",
    "DemoError",
    "DemoPlan",
    "DemoResult",
    "DemoStage",
    "Flip",
    "Reporter",
    "SideServed",
    "run_demo",
]
