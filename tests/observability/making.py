"""What the tests of this room are made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from migration import Call, Decision, Reason, Side
from migration.model import CallSite, Operation, Outcome, Role
from observability import Telemetry

NAME = "async-upload-kimi"


def a_call(*, migration: str = NAME, provider: str = "kimi", size: int = 4096) -> Call:
    """A call as the core describes one."""
    return Call(
        migration=migration,
        function="providers.kimi:upload",
        call_id="unit-1",
        args=("/home/someone/secret-name.pdf",),
        kwargs={},
        site=CallSite(function="ask", file="smart_file_query.py", line=42),
        attributes={"upload.provider": provider, "file.size": size},
    )


def a_decision(*, serve: Side = Side.CANDIDATE, **what: Any) -> Decision:
    """A decision as a router makes one."""
    return Decision(serve=serve, **{"reason": Reason.SPLIT, "source": "file", "probability": 0.25, **what})


def run(telemetry: Telemetry, operation: Operation, error: BaseException | None = None, seconds: float = 0.5) -> None:
    """Let an operation begin and end under observation."""
    side = operation.side or operation.decision.serve
    with telemetry.operation(operation):
        operation.outcome = Outcome(side=side, seconds=seconds, error=error)


def call_operation(**call: Any) -> Operation:
    """A call as a whole."""
    return Operation(call=a_call(**call), decision=a_decision())


def side_operation(side: Side = Side.CANDIDATE, *, link: str | None = None, **call: Any) -> Operation:
    """A run of one side; with a link, a shadow run."""
    role = Role.PRIMARY if link is None else Role.SHADOW
    return Operation(call=a_call(**call), decision=a_decision(), side=side, role=role, link=link)


@dataclass(frozen=True, slots=True)
class FixedRouter:
    """Decides the same for every call."""

    decision: Decision

    def decide(self, _call: Call) -> Decision:
        """The decision, whatever the call is."""
        return self.decision


@dataclass(slots=True)
class _SameArguments:
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def seen(self) -> Sequence[Mapping[str, object]]:
        return ()


@dataclass(frozen=True, slots=True)
class HarmlessReplay:
    """Rehearses functions that have no effects, by simply calling them."""

    on_rehearsal: Callable[[Side], object] = field(default=lambda side: side)

    @contextmanager
    def record(self, call: Call) -> Iterator[_HarmlessRecording]:
        """Surround the primary run."""
        yield _HarmlessRecording(call, self.on_rehearsal)


@dataclass(frozen=True, slots=True)
class _HarmlessRecording:
    call: Call
    on_rehearsal: Callable[[Side], object]

    def refusal(self) -> str | None:
        return None

    def size(self) -> int:
        return 0

    def stale(self) -> bool:
        return False

    @asynccontextmanager
    async def rehearse(self, side: Side) -> AsyncIterator[_SameArguments]:
        self.on_rehearsal(side)
        yield _SameArguments(self.call.args, self.call.kwargs)
