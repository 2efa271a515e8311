"""How much the stand-ins of the providers are asked: how many uploads at once, how many a minute."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tools.sandbox.faults import Fault, FaultKind, ServiceName
from tools.sandbox.limits import Limits

COUNTED = "files.create"
"""The operation that counts, from its head to its answer."""

_MINUTE = 60.0


@dataclass(slots=True)
class _Account:
    under_way: int = 0
    begun: deque[float] = field(default_factory=deque)


class Traffic:
    """Counts the uploads of each account, and refuses those above its limits. Refused ones do not count."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._accounts: defaultdict[ServiceName, _Account] = defaultdict(_Account)

    @contextmanager
    def admitted(self, service: ServiceName, operation: str, limits: Limits) -> Iterator[Fault | None]:
        """Count one request while it lasts; or the refusal that it draws."""
        if operation != COUNTED:
            yield None
            return
        account = self._accounts[service]
        refusal = self._refusal(service, account, limits)
        if refusal is not None:
            yield refusal
            return
        account.under_way += 1
        account.begun.append(self._clock())
        try:
            yield None
        finally:
            account.under_way -= 1

    def clear(self) -> None:
        """Forget what has been; requests that are under way end uncounted."""
        self._accounts.clear()

    def _refusal(self, service: ServiceName, account: _Account, limits: Limits) -> Fault | None:
        at_once, a_minute = limits.traffic(service)
        now = self._clock()
        while account.begun and account.begun[0] <= now - _MINUTE:
            account.begun.popleft()
        if at_once and account.under_way >= at_once:
            return Fault(kind=FaultKind.OVERLOADED, service=service)
        if a_minute and len(account.begun) >= a_minute:
            seconds = math.ceil(account.begun[0] + _MINUTE - now)
            return Fault(kind=FaultKind.RATE_LIMITED, service=service, retry_after=seconds)
        return None
