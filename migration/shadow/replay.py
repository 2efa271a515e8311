"""Running a sampled call again without effect: the runner of replays, and the replay of functions that only read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

from migration.model.errors import HomeEndedError
from migration.model.model import Call, Operation, Role, Side
from migration.model.ports import ReplayRecording
from migration.running.in_flight import side_context
from migration.running.observers import Observers
from migration.shadow.isolated import IsolatedRunner, Observation, Shadow


class ReplayRunner:
    """Runs calls again of migrations that declare `replay`.

    Args:
        observers: see the runs.
        isolated: runs the sides.
    """

    def __init__(self, observers: Observers, isolated: IsolatedRunner) -> None:
        self._observers = observers
        self._isolated = isolated

    def size(self, shadow: Shadow) -> int:
        """Bytes of the input."""
        return 0 if shadow.recording is None else shadow.recording.size()

    def refusal(self, shadow: Shadow) -> str | None:
        """Why the call cannot be run again, or None if it can."""
        if shadow.recording is None:
            return "nothing was recorded that could be replayed"
        return shadow.recording.refusal()

    def stale(self, shadow: Shadow) -> bool:
        """Whether the input has changed."""
        return shadow.recording is not None and shadow.recording.stale()

    async def observe(self, shadow: Shadow, side: Side) -> Observation:
        """Rehearse one side."""
        try:
            return await self._observe(shadow, side)
        except HomeEndedError:  # while it ran; now legacy gets a loop of its own
            return await self._observe(shadow, side)

    async def _observe(self, shadow: Shadow, side: Side) -> Observation:
        recording = cast("ReplayRecording", shadow.recording)  # `refusal` was asked, and the mode is REPLAY
        run = Operation(call=shadow.call, decision=shadow.decision, side=side, role=Role.SHADOW, link=shadow.trace)
        with side_context(side, candidate=shadow.candidate):
            async with recording.rehearse(side) as rehearsal:
                with self._observers.operation(run):
                    outcome = await self._isolated.run(shadow, side, rehearsal.args, rehearsal.kwargs)
                    outcome = shadow.migration.classified(outcome)
                    run.outcome = outcome
                return Observation(outcome=outcome, sent=rehearsal.seen(), trace=run.trace)


class ReadOnly:
    """A `Replay` for a function that only reads: both sides run again with the call's arguments.

    Results and exceptions are compared; requests are not recorded. `Migration(..., replay=ReadOnly())` is all it takes.

    It is wrong for

    - a function that writes, sends or charges anything: each comparison does it two more times;
    - arguments that are used up or changed by the function or its caller: iterators, open files, a list that the
      caller goes on filling. A change that alters legacy's result makes the comparison `DROPPED`; one that does not is
      unseen;
    - results that change between two runs, such as times and random numbers: name them in `masked` or leave them out
      of `facts`, or every comparison is `DROPPED`.

    Arguments are not copied and are kept until the comparison has ended. Files that a function reads are not counted in
    the byte limits of shadows.
    """

    def record(self, call: Call) -> AbstractContextManager[RepeatableCall]:
        """Keep the call's arguments."""
        return nullcontext(RepeatableCall(args=call.args, kwargs=call.kwargs))


@dataclass(slots=True, kw_only=True)
class RepeatableCall:
    """A call that may run again as it was made: its own recording, and its own replay."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def refusal(self) -> str | None:
        """Any call can run again."""
        return None

    def size(self) -> int:
        """No bytes: what a function reads is not known."""
        return 0

    def stale(self) -> bool:
        """A change of the input is not detected here, but by legacy's other result."""
        return False

    @asynccontextmanager
    async def rehearse(self, side: Side) -> AsyncIterator[RepeatableCall]:  # noqa: ARG002  # the same for both sides
        """Run a side with the call's own arguments."""
        yield self

    def seen(self) -> tuple[()]:
        """No requests are recorded."""
        return ()
