"""The machine that the figures are from, and the programs that the benchmark needs beside Python."""

from __future__ import annotations

import os
import platform
import shutil
import ssl
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from bench.harness import MissingProgramError

_DEBIAN_PACKAGES = {"curl": "curl", "cc": "gcc libc6-dev libssl-dev"}
"""Debian's packages of each program, with what it needs to be of use here."""

_INSTALL_SECONDS = 300.0


@cache
def program(name: str) -> str:
    """The path of a program, which is installed from Debian's packages if it is missing and that is possible.

    Raises:
        MissingProgramError: it is not there.
    """
    found = shutil.which(name)
    if found is None:
        _install(name)
        found = shutil.which(name)
    if found is None:
        raise MissingProgramError(name, package=_DEBIAN_PACKAGES[name], reason="the package does not bring it")
    return found


def _install(name: str) -> None:
    package = _DEBIAN_PACKAGES[name]
    apt = shutil.which("apt-get")
    if apt is None:
        raise MissingProgramError(name, package=package, reason="this system has no apt-get")
    try:
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *package.split()]):
            subprocess.run([apt, *arguments], check=True, capture_output=True, timeout=_INSTALL_SECONDS)  # noqa: S603  # fixed words
    except subprocess.CalledProcessError as failed:
        last = failed.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise MissingProgramError(name, package=package, reason=last or "apt-get failed") from failed
    except subprocess.TimeoutExpired as slow:
        raise MissingProgramError(name, package=package, reason="apt-get took too long") from slow


# The machine that the figures are from.

_PACKAGES = (
    "aiohttp",
    "httpx",
    "httpx2",
    "launchdarkly-server-sdk",
    "laboratory",
    "openai",
    "opentelemetry-sdk",
    "requests",
    "requests-toolbelt",
    "UnleashClient",
    "uvloop",
    "zai-sdk",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What runs the benchmark.

    Attributes:
        processor: its model.
        cores: how many of them this process may use.
        memory_gib: main memory.
        kernel: the operating system's.
        python: version of the interpreter.
        openssl: what Python's TLS is.
        load: how many processes wanted a core in the minute before; others that want them spoil the figures.
        versions: of the contenders.
    """

    processor: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    openssl: str
    load: float
    versions: Mapping[str, str]


def this_machine() -> Machine:
    """Look at the machine."""
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        kernel=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        openssl=ssl.OPENSSL_VERSION,
        load=round(os.getloadavg()[0], 2),
        versions=_versions(),
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    try:
        said = subprocess.run([program("curl"), "--version"], check=True, capture_output=True, text=True)  # noqa: S603  # fixed words
    except MissingProgramError:
        return found
    return found | {"curl": said.stdout.split()[1]}
