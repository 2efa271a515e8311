"""The errors, the fault switches and the limits: what can be made to go wrong, for which service, and how often."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from random import Random
from typing import Any

from tools.errors import ToolsError, UnknownProviderError
from tools.providers.spec import PROVIDERS, provider
from tools.settings import MEGABYTE


class SandboxError(ToolsError):
    """Base of the sandbox's errors."""

    exit_code = 5


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


SUPABASE = "supabase"
"""The service beside the providers, which are called by their names in the registry."""


class FaultKind(StrEnum):
    """What can go wrong.

    Some kinds answer instead of the service, some cut the connection, some bend what the service does.
    """

    RATE_LIMITED = "rate_limited"  # 429
    OVERLOADED = "overloaded"  # 429; Supabase 503 SlowDown
    QUOTA_EXCEEDED = "quota_exceeded"  # 429 that lasts
    SERVER_ERROR = "server_error"  # JSON, `status` (500)
    GATEWAY_TIMEOUT = "gateway_timeout"  # 504 with an HTML page
    ERROR_IN_SUCCESS = "error_in_success"  # HTTP 200 with an error in the body, where a provider does that
    RESET_MID_BODY = "reset_mid_body"  # RST after `after_bytes`, while the client still sends
    STALL_MID_BODY = "stall_mid_body"  # reads `after_bytes`, then nothing more
    DROP_AFTER_COMMIT = "drop_after_commit"  # carried out, then closed without an answer
    HANG = "hang"  # the request is read in full and neither carried out nor answered
    LATENCY = "latency"  # carried out at once, answered `seconds` later
    SLOW_PARSING = "slow_parsing"  # an uploaded file stays unparsed for `seconds`
    UNPARSED = "unparsed"  # the file asked about is shown as not parsed yet
    PARSING_FAILS = "parsing_fails"  # an uploaded file ends as failed
    CONTENT_AS_TEXT = "content_as_text"  # content is answered as text/plain instead of JSON


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

_NOT_OF_STORAGE = frozenset(
    {
        FaultKind.QUOTA_EXCEEDED,
        FaultKind.ERROR_IN_SUCCESS,
        FaultKind.SLOW_PARSING,
        FaultKind.UNPARSED,
        FaultKind.PARSING_FAILS,
        FaultKind.CONTENT_AS_TEXT,
    }
)
_LEAST_ERROR_STATUS, _LAST_ERROR_STATUS = 500, 599


def _is_possible(kind: FaultKind, service: str) -> bool:
    """Whether a service can have such a fault.

    Raises:
        InvalidFaultError: there is no such service.
    """
    if service == SUPABASE:
        return kind not in _NOT_OF_STORAGE
    try:
        played = provider(service)
    except UnknownProviderError as unknown:
        raise InvalidFaultError(f"{unknown}, or {SUPABASE}") from None
    if kind is FaultKind.ERROR_IN_SUCCESS:
        return bool(played.files.overloaded)
    return kind is not FaultKind.CONTENT_AS_TEXT or played.files.returns_text


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
    service: str
    operation: str | None = None
    times: int | None = 1
    probability: float = 1.0
    seconds: float = 0.0
    retry_after: int | None = None
    status: int = 500
    after_bytes: int = 64 * 1024

    def __post_init__(self) -> None:
        if not _is_possible(self.kind, self.service):
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
            return cls(**{**value, "kind": FaultKind(value["kind"])})
        except (TypeError, ValueError) as invalid:
            raise InvalidFaultError(str(invalid)) from None

    def to_json(self) -> dict[str, Any]:
        """The fault as plain data."""
        return asdict(self)

    def matches(self, service: str, operation: str) -> bool:
        """Whether a request of this kind can be hit."""
        return self.service == service and self.operation in (None, operation)


class DrawnFaults:
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

    def draw(self, service: str, operation: str) -> DrawnFaults:
        """Decide what befalls one request, and use up the switches that hit it."""
        drawn: list[Fault] = []
        for switch in self._switches:
            fault = switch.fault
            if fault.matches(service, operation) and not _excluded(fault, drawn) and self._hits(fault):
                drawn.append(fault)
                switch.left = None if switch.left is None else switch.left - 1
        self._switches = [switch for switch in self._switches if switch.left != 0]
        return DrawnFaults(drawn)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountLimits:
    """What one provider's account may do.

    Attributes:
        max_bytes: largest file.
        max_files: files that it keeps.
        max_at_once: uploads in flight, further ones are answered 429; 0 is no limit.
        max_a_minute: uploads begun in any minute, likewise, with a `Retry-After`.
    """

    max_bytes: int
    max_files: int
    max_at_once: int = 0
    max_a_minute: int = 0


def _of_the_providers() -> dict[str, AccountLimits]:
    return {
        name: AccountLimits(max_bytes=each.stand_in.max_bytes, max_files=each.stand_in.max_files)
        for name, each in PROVIDERS.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The services' limits. As plain data those of a provider are `NAME_max_bytes` and so on.

    Attributes:
        accounts: by provider.
        storage_max_bytes: largest object; a bucket can set less.
        tus_chunk_bytes: what every resumable piece but the last must measure; 0 accepts any.
        intent_lease_seconds: how long a claim of the journal holds without being renewed.
    """

    accounts: Mapping[str, AccountLimits] = field(default_factory=_of_the_providers)
    storage_max_bytes: int = 5 * 1024 * MEGABYTE
    tus_chunk_bytes: int = 6 * MEGABYTE
    intent_lease_seconds: int = 60

    def changed(self, values: Mapping[str, object]) -> Limits:
        """These limits with some replaced.

        Raises:
            ValueError: an unknown name, or a value that is no whole number of at least zero.
        """
        known = self.to_json()
        own: dict[str, Any] = {}
        accounts = dict(self.accounts)
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"{name} is no limit; there are {', '.join(sorted(known))}")
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"{name} must be a whole number of at least 0")
            account, _, field_name = name.partition("_max_")
            if account in accounts:
                accounts[account] = replace(accounts[account], **{f"max_{field_name}": value})
            else:
                own[name] = value
        return replace(self, accounts=accounts, **own)

    def to_json(self) -> dict[str, int]:
        """The limits by name."""
        plain = asdict(self)
        accounts = plain.pop("accounts")
        return {f"{name}_{limit}": value for name, each in accounts.items() for limit, value in each.items()} | plain


# How much the stand-ins of the providers are asked: how many uploads at once, how many a minute.

COUNTED = "files.create"
"""The operation that counts, from its head to its answer."""

_MINUTE = 60.0


@dataclass(slots=True)
class _Account:
    in_flight: int = 0
    begun: deque[float] = field(default_factory=deque)


class Traffic:
    """Counts the uploads of each account, and refuses those above its limits. Refused ones do not count."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._accounts: defaultdict[str, _Account] = defaultdict(_Account)

    @contextmanager
    def admitted(self, service: str, operation: str, limits: Limits) -> Iterator[Fault | None]:
        """Count one request while it lasts; or the refusal that it draws."""
        if operation != COUNTED:
            yield None
            return
        account = self._accounts[service]
        refusal = self._refusal(service, account, limits)
        if refusal is not None:
            yield refusal
            return
        account.in_flight += 1
        account.begun.append(self._clock())
        try:
            yield None
        finally:
            account.in_flight -= 1

    def clear(self) -> None:
        """Forget what has been; requests that are in flight end uncounted."""
        self._accounts.clear()

    def _refusal(self, service: str, account: _Account, limits: Limits) -> Fault | None:
        own = limits.accounts.get(service)
        at_once, a_minute = (own.max_at_once, own.max_a_minute) if own else (0, 0)
        now = self._clock()
        while account.begun and account.begun[0] <= now - _MINUTE:
            account.begun.popleft()
        if at_once and account.in_flight >= at_once:
            return Fault(kind=FaultKind.OVERLOADED, service=service)
        if a_minute and len(account.begun) >= a_minute:
            seconds = math.ceil(account.begun[0] + _MINUTE - now)
            return Fault(kind=FaultKind.RATE_LIMITED, service=service, retry_after=seconds)
        return None
