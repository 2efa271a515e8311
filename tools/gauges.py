"""What the uploads export beside what every migration exports: the throttle's figures by provider.

Imports nothing heavy: the application names these at import, also for `shim --help`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.engine.throttle import RateLimiterStatus

PROVIDER = "upload.provider"
"""The attribute that tells uploads to one provider from those to another; a label of metrics as well."""

THROTTLE: Mapping[str, tuple[str, Callable[[RateLimiterStatus], int]]] = {
    "upload.throttle.limit": ("Requests that a provider turns out to take at once.", lambda limiter: limiter.limit),
    "upload.throttle.usage": ("Requests to a provider that are in flight.", lambda limiter: limiter.inside),
    "upload.throttle.waiting": ("Requests that wait for their turn.", lambda limiter: limiter.waiting),
}
"""Instruments by name: what each says, and how it is read. Their unit is `{request}`."""


def throttle_values(measure: Callable[[RateLimiterStatus], int]) -> Iterable[tuple[float, Mapping[str, str]]]:
    """One figure of the throttle for each provider; none before the engine was used in this process."""
    throttle = sys.modules.get("tools.engine.throttle")
    sums: dict[str, int] = {}
    for status in () if throttle is None else throttle.snapshot():
        sums[status.provider] = sums.get(status.provider, 0) + measure(status.requests)
    return [(value, {PROVIDER: provider}) for provider, value in sums.items()]
