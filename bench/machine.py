"""The machine that the figures are from."""

from __future__ import annotations

import os
import platform
import ssl
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from bench.errors import MissingProgramError
from bench.programs import program

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
