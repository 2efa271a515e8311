"""The programs that the benchmark needs beside Python."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache

from bench.errors import MissingProgramError

_PACKAGES = {"curl": "curl", "cc": "gcc libc6-dev libssl-dev"}
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
        raise MissingProgramError(name, package=_PACKAGES[name], reason="the package does not bring it")
    return found


def _install(name: str) -> None:
    package = _PACKAGES[name]
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
