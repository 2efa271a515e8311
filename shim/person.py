"""Who acts, for the record of decisions."""

from __future__ import annotations

import getpass
import os


def who_acts() -> str:
    """The name of this process's user; the number of one that has no name, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # which of them depends on the version of Python
        return f"user {os.getuid()}"
