"""What goes wrong in a drill, in the new implementation only."""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from operator import attrgetter
from pathlib import Path
from random import Random
from typing import Any

from tools.settings import MEGABYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillResult:
    """The measures of one drill. Times are seconds since the first upload that was misrouted began.

    Attributes:
        at: when the drill began, seconds since the epoch.
        migration: which migration.
        fault: what went wrong.
        percent: share of the uploads that the new implementation got.
        severity: percent of these that went wrong.
        flags: where the flags were: `a file`, or the server's address.
        uploads: how many were made while the share was in force or just had been.
        misrouted: how many of them the new implementation served.
        failed: how many failed, as their callers were told.
        decided: when the guard decided; None if it did not.
        last_begun: when the last misrouted upload began.
        last_ended: when the last one ended.
        begun_later: misrouted uploads that began after the decision.
        flag_off: when the flag was off for everybody; None if it was not.
        legacy_after: uploads that legacy served in a row at the end.
        rule: the rule by which the guard decided.
        sentence: the decision in words, or why there is none.
        seconds: what the drill took in all.
    """

    at: float
    migration: str
    fault: str
    percent: int
    severity: int
    flags: str
    uploads: int
    misrouted: int
    failed: int
    decided: float | None
    last_begun: float
    last_ended: float
    begun_later: int
    flag_off: float | None
    legacy_after: int
    rule: str | None
    sentence: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether legacy serves again, here and for everybody."""
        return self.decided is not None and self.flag_off is not None and self.legacy_after > 0


# What goes wrong in a drill, in the new implementation only.

TIMEOUT_SECONDS = 0.5
"""After which an upload fails for want of an answer."""

HANG_SECONDS = 6.0
"""How long an upload hangs: it must end, for a caller waits for it."""

SLOWER_SECONDS = 0.2
"""How much longer than legacy an upload takes."""

HELD_BYTES = 64 * MEGABYTE
MAX_HELD_BYTES = 512 * MEGABYTE
"""Memory that each upload keeps, and that all of them keep together."""

Candidate = Callable[..., Coroutine[Any, Any, Any]]


class FaultKind(StrEnum):
    """What goes wrong."""

    ERROR = "error"  # it fails at once
    TIMEOUT = "timeout"  # it fails after a while, for want of an answer
    HANG = "hang"  # it does not end for a long time
    SLOW = "slow"  # it takes longer than legacy
    BYTES = "bytes"  # it uploads something else than it was given
    MEMORY = "memory"  # it keeps memory


@dataclass(slots=True)
class Faults:
    """What befalls the calls of a candidate.

    Attributes:
        kind: what goes wrong.
        severity: the share of its calls that it befalls (0..1).
        legacy_seconds: how long legacy takes at most, which "slow" is measured by.
        random: the source of chance.
        held: the memory that is kept.
    """

    kind: FaultKind
    severity: float = 1.0
    legacy_seconds: float = 0.0
    random: Random = field(default_factory=Random)
    held: list[bytes] = field(default_factory=list)

    async def around(self, real: Candidate, *args: Any, **kwargs: Any) -> Any:
        """Call the candidate, and let it go wrong or not."""
        if self.random.random() >= self.severity:
            return await real(*args, **kwargs)
        match self.kind:
            case FaultKind.ERROR:
                raise RuntimeError("the drill lets this upload fail")
            case FaultKind.TIMEOUT | FaultKind.HANG:
                await asyncio.sleep(TIMEOUT_SECONDS if self.kind is FaultKind.TIMEOUT else HANG_SECONDS)
                raise TimeoutError("the drill lets this upload time out")
            case FaultKind.SLOW:
                return await self._slowly(real, *args, **kwargs)
            case FaultKind.BYTES:
                return await _spoilt(real, *args, **kwargs)
            case FaultKind.MEMORY:
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


async def _spoilt(real: Candidate, file_path: Any, *args: Any, **kwargs: Any) -> Any:
    """Upload a copy with another last byte, under the same name."""
    with tempfile.TemporaryDirectory(prefix="shim-drill-") as folder:
        copy = Path(folder) / Path(file_path).name
        await asyncio.to_thread(_copy_spoilt, Path(file_path), copy)
        return await real(copy, *args, **kwargs)


def _copy_spoilt(path: Path, copy: Path) -> None:
    shutil.copyfile(path, copy)
    with copy.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
