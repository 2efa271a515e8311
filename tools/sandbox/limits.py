"""How much the stand-ins accept."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace

from tools.sandbox.faults import Fault, FaultKind, ServiceName

MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The vendors' limits, in bytes and in numbers of files and uploads.

    Attributes:
        kimi_max_bytes: largest file; whether the documented 100 MB is decimal or binary is not said.
        kimi_max_files: files one account can keep.
        glm_max_bytes: largest file; z.ai documents 100 MB for `agent`, its sibling service 20 MB.
        glm_max_files: files one account can keep.
        storage_max_bytes: largest object; a bucket can set less.
        kimi_max_at_once, glm_max_at_once: uploads under way at once, further ones are answered 429; 0 is no limit.
        kimi_max_a_minute, glm_max_a_minute: uploads begun in any minute, likewise, with a `Retry-After`.
        intent_lease_seconds: how long a claim of the journal holds without being renewed.
        tus_chunk_bytes: what every resumable piece but the last must measure; 0 accepts any.
    """

    kimi_max_bytes: int = 100 * MEGABYTE
    kimi_max_files: int = 1000
    glm_max_bytes: int = 100 * MEGABYTE
    glm_max_files: int = 100
    kimi_max_at_once: int = 0
    kimi_max_a_minute: int = 0
    glm_max_at_once: int = 0
    glm_max_a_minute: int = 0
    storage_max_bytes: int = 5 * 1024 * MEGABYTE
    tus_chunk_bytes: int = 6 * MEGABYTE
    intent_lease_seconds: int = 60

    def changed(self, values: Mapping[str, object]) -> Limits:
        """These limits with some replaced.

        Raises:
            ValueError: an unknown name, or a value that is no whole number of at least zero.
        """
        known = {field.name for field in fields(self)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"{name} is no limit; there are {', '.join(sorted(known))}")
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"{name} must be a whole number of at least 0")
        return replace(self, **values)  # type: ignore[arg-type]  # names and values were checked above

    def traffic(self, service: ServiceName) -> tuple[int, int]:
        """How many uploads a service takes at once, and how many a minute; 0 is no limit."""
        match service:
            case ServiceName.KIMI:
                return self.kimi_max_at_once, self.kimi_max_a_minute
            case ServiceName.GLM:
                return self.glm_max_at_once, self.glm_max_a_minute
            case _:
                return 0, 0

    def to_json(self) -> dict[str, int]:
        """The limits by name."""
        return asdict(self)


# How much the stand-ins of the providers are asked: how many uploads at once, how many a minute.

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
