"""Makes the ids of units of work."""

from __future__ import annotations

import os

_BYTES = 16
_AT_ONCE = 256
"""Ids that are made of one piece of randomness: to get it from the operating system costs more than all the rest, and
gives the GIL to whoever waits for it."""

_prepared: list[str] = []


def new_unit() -> str:
    """An id that nobody can guess and that no other process has: 32 hexadecimal digits."""
    try:
        return _prepared.pop()
    except IndexError:
        random = os.urandom(_BYTES * _AT_ONCE).hex()
        digits = 2 * _BYTES
        first, *others = (random[start : start + digits] for start in range(0, len(random), digits))
        _prepared.extend(others)
        return first


os.register_at_fork(after_in_child=_prepared.clear)
