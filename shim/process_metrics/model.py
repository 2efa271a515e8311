"""What is written down: all times are in seconds since the epoch, durations in seconds, sizes in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from migration import Side


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSample:
    """One run of a side that answered a caller, or failed to.

    Attributes:
        at: when it ended.
        migration: its migration.
        side: which implementation ran.
        seconds: how long it took.
        bytes: size of its files; 0 if it failed.
        error: type of its failure; None after success.
    """

    at: float
    migration: str
    side: Side
    seconds: float
    bytes: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSample:
    """A process at one moment.

    Attributes:
        at: the moment.
        process: instance and process id.
        memory: resident bytes.
        memory_limit: bytes that it may have.
        pool_used: connections in use; None before there is a pool.
        pool_limit: connections that the pool may hold; None before there is a pool.
        loop_delay: how late the background loop woke a sleeper, at worst since the last sample; None before it runs.
        lost: calls and spans since the last sample that were too many to be written down.
    """

    at: float
    process: str
    memory: int
    memory_limit: int
    pool_used: int | None = None
    pool_limit: int | None = None
    loop_delay: float | None = None
    lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareSample:
    """The shares that were in force for calls from a moment on.

    Attributes:
        at: the moment.
        instance: the instance that decided.
        migration: of which migration.
        percent: of the calls that the candidate serves.
        shadow_percent: of the calls that are also run on the other side.
        source: who decided (`unleash`, `file`, `guard`, ...).
    """

    at: float
    instance: str
    migration: str
    percent: float
    shadow_percent: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanSample:
    """A finished span.

    Attributes:
        trace: its trace, 32 hexadecimal figures.
        span: its id, 16 of them.
        parent: the span that it is part of; None for the root of a trace.
        name: what it is called.
        began: when.
        seconds: how long it took.
        failed: whether its status is an error.
        attributes: what is known of it.
        links: traces that it is linked to; a shadow is to its primary's.
    """

    trace: str
    span: str
    parent: str | None
    name: str
    began: float
    seconds: float
    failed: bool = False
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    links: tuple[str, ...] = ()
