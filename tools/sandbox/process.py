"""The sandbox in a process of its own, so that it never shares the interpreter with what is measured."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.sandbox.client import RunningSandbox
from tools.sandbox.errors import SandboxStartError

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_LOG_TAIL = 2000
_OWNER_ONLY = 0o077
"""The umask of its process: what it keeps is its user's alone."""
_LOOPBACK = "127.0.0.1"
_ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def running_sandbox(home: Path, *, port: int = 0, keys: Collection[str] = ()) -> Iterator[RunningSandbox]:
    """Run the sandbox in a subprocess for the length of a `with` block.

    The process also ends when this one dies, however it dies: it watches its standard input. Meanwhile the clients of
    this process ask the loopback directly: a proxy that the environment names must not see what is for the sandbox.

    Args:
        home: folder of the state, created if need be.
        port: where to listen on loopback; 0 takes a free one.
        keys: the accepted credentials; none given accepts any.

    Raises:
        SandboxStartError: the process ended, or was not ready in time.
    """
    home = home.resolve()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = home / "sandbox.log"
    command = [sys.executable, "-m", "tools.sandbox", "--home", str(home), "--port", str(port), "--until-stdin-closes"]
    for key in keys:
        command += ["--key", key]
    with (
        _loopback_asked_directly(),
        os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as errors,
        subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            umask=_OWNER_ONLY,
            process_group=0,  # Ctrl-C at a terminal is for the program that uses the sandbox, which then ends it
        ) as process,
    ):
        try:
            urls = _first_line(process, log)
            yield RunningSandbox(**json.loads(urls), key=next(iter(keys), "sandbox-key"), home=home, pid=process.pid)
        finally:
            _end(process)


@contextmanager
def _loopback_asked_directly() -> Iterator[None]:
    """Add the loopback to what is asked without a proxy. The name in lower case is the one that all clients prefer."""
    before = os.environ.get("no_proxy")
    others = before or os.environ.get("NO_PROXY", "")
    if others != "*":
        os.environ["no_proxy"] = f"{others},{_LOOPBACK}" if others else _LOOPBACK
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("no_proxy", None)
        else:
            os.environ["no_proxy"] = before


def _first_line(process: subprocess.Popen[bytes], log: Path) -> bytes:
    if process.stdout is None:
        raise SandboxStartError("its output is not connected")
    output = select.poll()  # `select.select` knows no descriptor from 1024 on, which a busy process may have
    output.register(process.stdout, select.POLLIN)
    if not output.poll(_START_SECONDS * 1000):
        raise SandboxStartError(f"it was not ready within {_START_SECONDS} s", log=_tail(log))
    line = process.stdout.readline()
    if not line:
        raise SandboxStartError("its process ended", log=_tail(log))
    return line


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-_LOG_TAIL:].strip()
