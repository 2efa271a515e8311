"""A demonstration on real files: from legacy to the asynchronous path step by step, and back by a flip of the flag."""

from tools.demo.demo import Plan, run_demo
from tools.demo.results import (
    Account,
    Answer,
    BigUpload,
    Compared,
    DemoResult,
    Flip,
    Reporter,
    SideServed,
    Stage,
)
from tools.load import DemoError

__all__ = [
    "Account",
    "Answer",
    "BigUpload",
    "Compared",
    "DemoError",
    "DemoResult",
    "Flip",
    "Plan",
    "Reporter",
    "SideServed",
    "Stage",
    "run_demo",
]
