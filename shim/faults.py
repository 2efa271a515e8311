"""A candidate that goes wrong on purpose: for drills, and for tests of what follows."""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from operator import attrgetter
from random import Random
from typing import Any

TIMEOUT_SECONDS = 0.5
"""After which a call fails for want of an answer."""

HANG_SECONDS = 6.0
"""How long a call hangs: it must end, for a caller waits for it."""

SLOWER_SECONDS = 0.2
"""How much longer than legacy a call takes."""

HELD_BYTES = 64 * 1024 * 1024
MAX_HELD_BYTES = 8 * HELD_BYTES
"""Memory that each call keeps, and that all of them keep together."""

Candidate = Callable[..., Coroutine[Any, Any, Any]]
Spoil = Callable[[Candidate, tuple[Any, ...], Mapping[str, Any]], Coroutine[Any, Any, Any]]
"""Calls the candidate with these arguments in a way that does something else than legacy does."""


class DrillFault(StrEnum):
    """What goes wrong."""

    ERROR = "error"  # it fails at once
    TIMEOUT = "timeout"  # it fails after a while, for want of an answer
    HANG = "hang"  # it does not end for a long time
    SLOW = "slow"  # it takes longer than legacy
    WRONG = "wrong"  # it does something else than legacy
    BYTES = "bytes"  # the same, as uploads call it: it sends something else than it was given
    MEMORY = "memory"  # it keeps memory


async def wrong_result(real: Candidate, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Return another result than the candidate's."""
    return f"not {await real(*args, **kwargs)!r}"


@dataclass(slots=True)
class Faults:
    """What happens to the calls of a candidate.

    Attributes:
        kind: what goes wrong.
        severity: the share of its calls to which it happens (0..1).
        legacy_seconds: how long legacy takes at most, which "slow" is measured by.
        spoil: how a call does something wrong.
        random: the source of chance.
        held: the memory that is kept.
    """

    kind: DrillFault
    severity: float = 1.0
    legacy_seconds: float = 0.0
    spoil: Spoil = wrong_result
    random: Random = field(default_factory=Random)
    held: list[bytes] = field(default_factory=list)

    async def around(self, real: Candidate, *args: Any, **kwargs: Any) -> Any:
        """Call the candidate; let it go wrong in the share of the calls that `severity` says."""
        if self.random.random() >= self.severity:
            return await real(*args, **kwargs)
        match self.kind:
            case DrillFault.ERROR:
                raise RuntimeError("the drill lets this call fail")
            case DrillFault.TIMEOUT | DrillFault.HANG:
                await asyncio.sleep(TIMEOUT_SECONDS if self.kind is DrillFault.TIMEOUT else HANG_SECONDS)
                raise TimeoutError("the drill lets this call time out")
            case DrillFault.SLOW:
                return await self._slowly(real, *args, **kwargs)
            case DrillFault.WRONG | DrillFault.BYTES:
                return await self.spoil(real, args, kwargs)
            case DrillFault.MEMORY:
                if len(self.held) * HELD_BYTES < MAX_HELD_BYTES:
                    self.held.append(os.urandom(1) * HELD_BYTES)  # written to, or the system would not give it
                return await real(*args, **kwargs)

    async def _slowly(self, real: Candidate, *args: Any, **kwargs: Any) -> Any:
        began = time.monotonic()
        try:
            return await real(*args, **kwargs)
        finally:
            await asyncio.sleep(max(0.0, began + self.legacy_seconds + SLOWER_SECONDS - time.monotonic()))


def faulty(candidate: str, faults: Faults) -> Candidate:
    """The candidate `pkg.mod:func`, which goes wrong as `faults` says."""
    module, _, attribute = candidate.partition(":")
    real: Candidate = attrgetter(attribute)(importlib.import_module(module))

    @functools.wraps(real)
    async def going_wrong(*args: Any, **kwargs: Any) -> Any:
        return await faults.around(real, *args, **kwargs)

    return going_wrong
