"""What a process holds: its memory in use, and what the allocator keeps of what was given back to it."""

from __future__ import annotations

import ctypes
import gc

import psutil

from tools.settings import MEGABYTE


def memory() -> dict[str, float]:
    """Memory in MiB: `in use`, and `kept`, which is free again, and which the C library has not given back yet.

    Each call of a vendor's SDK makes a client with a TLS context of megabytes. What it frees stays in the allocator's
    arenas, in as many pieces as threads happened to do so at once, and is used again; it is no leak.
    """
    gc.collect()
    resident = psutil.Process().memory_info().rss
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:  # glibc's alone
        give_back(0)
    in_use = psutil.Process().memory_info().rss
    return {"MiB in use": in_use / MEGABYTE, "MiB kept": (resident - in_use) / MEGABYTE}
