"""What several files of this room's tests use."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ROOT = Path(__file__).parents[2]


def in_thread(function: Callable[[], T]) -> Future[T]:
    """Run in a daemon thread, so that a test which would hang fails at `result(timeout)` instead."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001  # handed to the future
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether the condition comes true in time; for what another thread does a moment later."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def run_script(text: str, *arguments: str, seconds: float = 30.0) -> str:
    """Run a program in a process of its own and return what it printed; it must end well and warn of nothing."""
    finished = subprocess.run(  # noqa: S603  # a program of the test's own
        [sys.executable, "-W", "error", "-c", text, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "Traceback" not in finished.stderr, finished.stderr
    return finished.stdout
