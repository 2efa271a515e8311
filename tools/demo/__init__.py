"""A demonstration on real files: from legacy to the asynchronous path step by step, and back by a flip of the flag."""

from tools.demo.demo import DemoOptions, run_demo
from tools.demo.results import Compared, DemoResult
from tools.demo.view import DemoView

__all__ = ["Compared", "DemoOptions", "DemoResult", "DemoView", "run_demo"]
