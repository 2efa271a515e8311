"""How a side is run: an outcome comes back, and only what is meant for the whole process is raised."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from migration.model.model import Outcome, Side
from migration.running.candidate import Candidate

R = TypeVar("R")


def run_legacy(legacy: Callable[..., R], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome[R]:
    """Run legacy on this thread."""
    start = time.perf_counter()
    try:
        value = legacy(*args, **kwargs)
    except Exception as error:  # noqa: BLE001  # an outcome, raised again by whoever unwraps it
        return Outcome(side=Side.LEGACY, seconds=time.perf_counter() - start, error=error)
    return Outcome(side=Side.LEGACY, seconds=time.perf_counter() - start, value=value)


async def run_candidate(candidate: Candidate[..., R], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome[R]:
    """Run the candidate on the running loop."""
    start = time.perf_counter()
    try:
        value = await candidate.start(*args, **kwargs)
    except Exception as error:  # noqa: BLE001  # an outcome, raised again by whoever unwraps it
        return Outcome(side=Side.CANDIDATE, seconds=time.perf_counter() - start, error=error)
    return Outcome(side=Side.CANDIDATE, seconds=time.perf_counter() - start, value=value)
