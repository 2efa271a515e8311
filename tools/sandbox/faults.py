"""Fault switches: what can be made to go wrong, for whom, and how often."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from random import Random
from typing import Any

from tools.errors import ToolsError


class SandboxError(ToolsError):
    """Base of the sandbox's errors."""


class SandboxStartError(SandboxError):
    """The sandbox process did not come up."""

    def __init__(self, reason: str, *, log: str = "") -> None:
        self.log = log
        super().__init__(f"the sandbox did not start: {reason}" + (f"\n{log}" if log else ""))


class SandboxControlError(SandboxError):
    """The sandbox refused a control request, or could not be reached."""

    def __init__(self, request: str, reason: str) -> None:
        self.request = request
        super().__init__(f"the sandbox did not carry out {request}: {reason}")


class InvalidFaultError(SandboxError, ValueError):
    """A fault is described in a way that means nothing."""


# Fault switches: what can be made to go wrong, for whom, and how often.


class ServiceName(StrEnum):
    """The services that are stood in for."""

    KIMI = "kimi"
    GLM = "glm"
    SUPABASE = "supabase"


class FaultKind(StrEnum):
    """What can go wrong.

    Some kinds answer instead of the service, some cut the connection, some bend what the service does.
    """

    RATE_LIMITED = "rate_limited"  # 429; Kimi rate_limit_reached_error, GLM 1303
    OVERLOADED = "overloaded"  # Kimi 429 engine_overloaded_error, GLM 429 1302, Supabase 503 SlowDown
    QUOTA_EXCEEDED = "quota_exceeded"  # terminal 429; Kimi exceeded_current_quota_error, GLM 1113
    SERVER_ERROR = "server_error"  # JSON, `status` (500)
    GATEWAY_TIMEOUT = "gateway_timeout"  # 504 with an HTML page
    ERROR_IN_SUCCESS = "error_in_success"  # GLM only: HTTP 200 with error 1305 in the body
    RESET_MID_BODY = "reset_mid_body"  # RST after `after_bytes`, while the client still sends
    STALL_MID_BODY = "stall_mid_body"  # reads `after_bytes`, then nothing more
    DROP_AFTER_COMMIT = "drop_after_commit"  # carried out, then closed without an answer
    HANG = "hang"  # the request is read in full and neither carried out nor answered
    LATENCY = "latency"  # carried out at once, answered `seconds` later
    SLOW_PARSING = "slow_parsing"  # an uploaded file stays unparsed for `seconds`
    UNPARSED = "unparsed"  # the file asked about is shown as not parsed yet
    PARSING_FAILS = "parsing_fails"  # an uploaded file ends as failed
    CONTENT_AS_TEXT = "content_as_text"  # Kimi answers content as text/plain instead of JSON


REFUSALS = frozenset(
    {
        FaultKind.RATE_LIMITED,
        FaultKind.OVERLOADED,
        FaultKind.QUOTA_EXCEEDED,
        FaultKind.SERVER_ERROR,
        FaultKind.GATEWAY_TIMEOUT,
        FaultKind.ERROR_IN_SUCCESS,
    }
)
"""Kinds that answer instead of the service: one request can draw only one of them."""

_IMPOSSIBLE = {
    ServiceName.KIMI: {FaultKind.ERROR_IN_SUCCESS},
    ServiceName.GLM: {FaultKind.CONTENT_AS_TEXT},
    ServiceName.SUPABASE: {
        FaultKind.QUOTA_EXCEEDED,
        FaultKind.ERROR_IN_SUCCESS,
        FaultKind.SLOW_PARSING,
        FaultKind.UNPARSED,
        FaultKind.PARSING_FAILS,
        FaultKind.CONTENT_AS_TEXT,
    },
}
_LEAST_ERROR_STATUS, _LAST_ERROR_STATUS = 500, 599


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One switch.

    Attributes:
        kind: what goes wrong.
        service: whose requests are hit.
        operation: which of them (`files.create`, `object.upload`, ...); None hits every one.
        times: how many requests are hit before the switch is used up; None never ends.
        probability: chance of each matching request to be hit.
        seconds: for LATENCY and SLOW_PARSING.
        retry_after: value of the `Retry-After` header in seconds; None sends no such header.
        status: HTTP status of SERVER_ERROR.
        after_bytes: for the MID_BODY kinds; at most half of an announced body, so that the client is still sending.
    """

    kind: FaultKind
    service: ServiceName
    operation: str | None = None
    times: int | None = 1
    probability: float = 1.0
    seconds: float = 0.0
    retry_after: int | None = None
    status: int = 500
    after_bytes: int = 64 * 1024

    def __post_init__(self) -> None:
        if self.kind in _IMPOSSIBLE[self.service]:
            raise InvalidFaultError(f"{self.service} has no fault {self.kind}")
        if self.times is not None and self.times < 1:
            raise InvalidFaultError("times must be at least 1, or null for no end")
        if not 0.0 <= self.probability <= 1.0:
            raise InvalidFaultError("probability must lie between 0 and 1")
        if not 0.0 <= self.seconds < math.inf:
            raise InvalidFaultError("seconds must be a finite number of at least 0")
        if not _LEAST_ERROR_STATUS <= self.status <= _LAST_ERROR_STATUS:
            raise InvalidFaultError("status must lie between 500 and 599")
        if self.after_bytes < 0 or (self.retry_after is not None and self.retry_after < 0):
            raise InvalidFaultError("after_bytes and retry_after must not be negative")

    @classmethod
    def from_json(cls, value: object) -> Fault:
        """Read a fault as `to_json` writes it.

        Raises:
            InvalidFaultError: a field is unknown, missing or of the wrong type.
        """
        if not isinstance(value, Mapping):
            raise InvalidFaultError("a fault is an object with kind and service")
        unknown = set(value) - {field.name for field in fields(cls)}
        if unknown:
            raise InvalidFaultError(f"unknown: {', '.join(sorted(map(str, unknown)))}")
        if missing := {"kind", "service"} - set(value):
            raise InvalidFaultError(f"missing: {', '.join(sorted(missing))}")
        try:
            enums = {"kind": FaultKind(value["kind"]), "service": ServiceName(value["service"])}
            return cls(**{**value, **enums})
        except (TypeError, ValueError) as invalid:
            raise InvalidFaultError(str(invalid)) from None

    def to_json(self) -> dict[str, Any]:
        """The fault as plain data."""
        return asdict(self)

    def matches(self, service: ServiceName, operation: str) -> bool:
        """Whether a request of this kind can be hit."""
        return self.service is service and self.operation in (None, operation)


class Plan:
    """What befalls one request."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._by_kind = {fault.kind: fault for fault in faults}

    def get(self, kind: FaultKind) -> Fault | None:
        """The fault of this kind, if it was drawn."""
        return self._by_kind.get(kind)

    def __contains__(self, kind: FaultKind) -> bool:
        return kind in self._by_kind

    def seconds(self, kind: FaultKind) -> float:
        """How long this kind of fault lasts here; 0 when it was not drawn."""
        fault = self._by_kind.get(kind)
        return fault.seconds if fault else 0.0

    @property
    def refusal(self) -> Fault | None:
        """The fault that answers instead of the service."""
        return next((fault for kind, fault in self._by_kind.items() if kind in REFUSALS), None)

    @property
    def cut(self) -> Fault | None:
        """The fault that strikes while the body arrives."""
        return self.get(FaultKind.RESET_MID_BODY) or self.get(FaultKind.STALL_MID_BODY)

    @property
    def kinds(self) -> list[str]:
        """Names of the faults, for the request log."""
        return [str(kind) for kind in self._by_kind]


@dataclass(slots=True)
class _Switch:
    fault: Fault
    left: int | None


class FaultBoard:
    """The switches that are on, in the order in which they were set."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._switches: list[_Switch] = []

    def add(self, fault: Fault) -> None:
        """Set one more switch."""
        self._switches.append(_Switch(fault, fault.times))

    def clear(self) -> None:
        """Set all switches off."""
        self._switches.clear()

    def draw(self, service: ServiceName, operation: str) -> Plan:
        """Decide what befalls one request, and use up the switches that hit it."""
        drawn: list[Fault] = []
        for switch in self._switches:
            fault = switch.fault
            if fault.matches(service, operation) and not _excluded(fault, drawn) and self._hits(fault):
                drawn.append(fault)
                switch.left = None if switch.left is None else switch.left - 1
        self._switches = [switch for switch in self._switches if switch.left != 0]
        return Plan(drawn)

    def to_json(self) -> list[dict[str, Any]]:
        """The switches, `times` being what is left of each."""
        return [{**switch.fault.to_json(), "times": switch.left} for switch in self._switches]

    def _hits(self, fault: Fault) -> bool:
        return fault.probability >= 1.0 or self._random.random() < fault.probability


def _excluded(fault: Fault, drawn: list[Fault]) -> bool:
    if fault.kind in REFUSALS:
        return any(other.kind in REFUSALS for other in drawn)
    return any(other.kind is fault.kind for other in drawn)


# How much the stand-ins accept.

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
