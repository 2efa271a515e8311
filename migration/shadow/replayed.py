"""Runs a side again in a rehearsal, where it has no effect."""

from __future__ import annotations

from typing import cast

from migration.model.model import Operation, Role, Side
from migration.model.ports import Witness
from migration.running.observers import Observers
from migration.running.pins import pinned
from migration.shadow.aside import Aside
from migration.shadow.shadow import Observation, Shadow


class ReplayRunner:
    """Runs calls again of migrations that declare `replay`.

    Args:
        observers: see the runs.
        aside: where the sides run.
    """

    def __init__(self, observers: Observers, aside: Aside) -> None:
        self._observers = observers
        self._aside = aside

    def size(self, shadow: Shadow) -> int:
        """Bytes of the input."""
        return 0 if shadow.witness is None else shadow.witness.size()

    def refusal(self, shadow: Shadow) -> str | None:
        """Why there can be no rehearsal."""
        if shadow.witness is None:
            return "nothing was witnessed that could be replayed"
        return shadow.witness.refusal()

    def stale(self, shadow: Shadow) -> bool:
        """Whether the input has changed."""
        return shadow.witness is not None and shadow.witness.stale()

    async def observe(self, shadow: Shadow, side: Side) -> Observation:
        """Rehearse one side."""
        witness = cast("Witness", shadow.witness)  # `refusal` was asked, and the declaration's mode is to replay
        run = Operation(call=shadow.call, decision=shadow.decision, side=side, role=Role.SHADOW, link=shadow.trace)
        with pinned(side):
            async with witness.rehearse(side) as rehearsal:
                with self._observers.operation(run):
                    if side is Side.LEGACY:
                        outcome = await self._aside.legacy(shadow.legacy, rehearsal.args, rehearsal.kwargs)
                    else:
                        outcome = await self._aside.candidate(shadow.candidate, rehearsal.args, rehearsal.kwargs)
                    outcome = shadow.migration.classified(outcome)
                    run.outcome = outcome
                return Observation(outcome=outcome, sent=rehearsal.seen(), trace=run.trace)
