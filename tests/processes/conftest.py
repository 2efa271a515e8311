"""Programs that fork, in interpreters of their own: nothing is imported there yet, and no thread of a test runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.monolith import SetEnvironment
from tools.sandbox import RunningSandbox

Program = Callable[..., Any]

_PRELUDE = """
import json, os, signal, sys, threading, time
from pathlib import Path

def forked(work, seconds=25):
    '''Do the work in a child and return its process; one that hangs is killed, one that fails ends with 1.'''
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            print(f"child: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    return child

def ended(children):
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]

def until(condition, seconds=10):
    '''Wait until the condition holds.'''
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, threads()
        time.sleep(0.02)

def threads():
    return {thread.name for thread in threading.enumerate()}

def upload(name, size=100):
    '''One upload as the monolith makes it, of a file of its own.'''
    from tools.providers.kimi import kimi_files
    from tools.storage import get_storage
    path = Path(f"{name}.txt")
    path.write_bytes((str(name).encode() * size)[:size])
    return kimi_files.upload_via_supabase_gateway_kimi(str(path), get_storage())
"""


@pytest.fixture
def configured(monolith: RunningSandbox, set_environment: SetEnvironment) -> RunningSandbox:
    """The sandbox, in the environment of the programs that a test starts: both providers, and Supabase."""
    set_environment(SUPABASE_URL=monolith.supabase_url, SUPABASE_SERVICE_ROLE_KEY=monolith.key)
    return monolith


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Runs Python code in an interpreter of its own and returns what it says: the last line it prints, as JSON."""

    def run(code: str, *arguments: object, seconds: float = 60.0) -> Any:
        script = tmp_path / "program.py"
        script.write_text(_PRELUDE + textwrap.dedent(code))
        done = subprocess.run(  # noqa: S603  # our own code
            [sys.executable, str(script), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture
def set_share(tmp_path: Path) -> Callable[..., None]:
    """Sets the share of uploads that the candidate serves, in percent, and those of further flags by name."""

    def change(percent: int, **others: int) -> None:
        shares = {"async-upload-kimi": percent, "async-upload-glm": percent, **others}
        features = [
            {
                "name": name,
                "enabled": True,
                "strategies": [
                    {
                        "name": "flexibleRollout",
                        "parameters": {"rollout": str(share), "stickiness": "default", "groupId": name},
                        "constraints": [],
                    }
                ],
            }
            for name, share in shares.items()
        ]
        folder = tmp_path / "home"
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "new.json").write_text(json.dumps({"version": 2, "features": features}))
        (folder / "new.json").replace(folder / "flags.json")  # a reader finds the old flags or the new ones

    return change
