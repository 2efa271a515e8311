"""The controller of one rollout: looks, decides, writes down what is intended, and then changes the flag.

The store holds what is intended, the flag what is. A change that was written down and not confirmed is made again by
the next look, in whichever process: after a crash at any moment the rollout goes on where it was. A change that was
confirmed is never made again: if the flag shows something else then, an operator has set it, and the rollout is held.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Protocol

from migration.guard.flag_changes import PendingAction
from migration.guard.model import DecisionRecord
from migration.model.errors import RolloutError
from migration.rollout.counts import Tallies, with_calls
from migration.rollout.judge import after, grounds, next_step, numbers_of
from migration.rollout.model import (
    Exposure,
    FlagShown,
    Move,
    Rollout,
    RolloutPhase,
    RolloutPlan,
    RolloutStep,
    Situation,
)
from migration.rollout.store import OvertakenError, RolloutStore

CONTROLLER = "rollout"
"""Who decides, in records, if it is not an operator."""


class FlagDial(Protocol):
    """Sets the flag of a migration for all processes of all machines. May block; may raise anything."""

    def shown(self, migration: str) -> FlagShown:
        """The flag as it is."""
        ...

    def open(self, migration: str, exposure: Exposure) -> None:
        """Create the flag if there is none, set its exposure, and turn it on."""
        ...

    def set(self, migration: str, exposure: Exposure) -> None:
        """Set the exposure; a flag that is off stays off."""
        ...

    def close(self, migration: str, *, because: str) -> None:
        """Turn the flag off, so that legacy serves every call, and set it to 0 %, should it be turned on again."""
        ...


class RolloutController:
    """Advances the rollout of one migration.

    Args:
        migration: its name.
        store: where its state is kept.
        dial: sets the flag.
        tallies: counts the calls.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        migration: str,
        *,
        store: RolloutStore,
        dial: FlagDial,
        tallies: Tallies,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.migration = migration
        self._store = store
        self._dial = dial
        self._tallies = tallies
        self._now = now
        self.problem: str | None = None
        """Why the flag could not be changed by the last look; None if it could."""

    def begin(self, plan: RolloutPlan, *, by: str) -> Rollout:
        """Write down that a rollout begins; the first look turns the flag on.

        Raises:
            RolloutError: another one is running, or the guard has rolled the migration back or frozen it.
        """
        known = self.known()
        if known is not None and not known.phase.is_over:
            raise RolloutError(f"a rollout of {self.migration} is running; abort it before you begin another")
        status = self._store.status(self.migration)
        if status.held_by is not None:
            raise RolloutError(
                f"{self.migration} is rolled back or frozen; `shim resume {self.migration} --because ...` comes first"
            )
        rollout = Rollout(
            migration=self.migration,
            plan=plan,
            began=self._now(),
            epoch=status.epoch,
            revision=known.revision if known else 0,
        )
        path = " -> ".join(str(stage) for stage in plan.stages)
        sentence = f"{self.migration} is rolled out by {by}: {path}, at least {plan.soak:g} s each."
        return self._keep(rollout, "start", sentence, by=by)

    def look(self) -> tuple[Rollout, RolloutStep]:
        """Look at everything once, decide, and do what follows.

        Returns:
            The rollout afterwards, and what was decided.

        Raises:
            RolloutError: there is no rollout.
            StoreError: its state cannot be read or kept.
        """
        while True:
            try:
                seen, rollout = self._seen(self.rollout())
                step = next_step(rollout, seen)
                return self._do(rollout, step, seen), step
            except OvertakenError:  # an operator paused or aborted it at this moment, which goes first
                continue

    def rollout(self) -> Rollout:
        """The rollout at this moment.

        Raises:
            RolloutError: there is none.
        """
        rollout = self.known()
        if rollout is None:
            raise RolloutError(f"there is no rollout of {self.migration}; `shim rollout {self.migration}` begins one")
        return rollout

    def known(self) -> Rollout | None:
        """The latest rollout; None if there has never been one."""
        return self._store.rollout(self.migration)

    # What operators say

    def pause(self, *, by: str) -> Rollout:
        """Hold it until it is resumed."""
        return self._say("pause", f"{self.migration} was paused by {by}.", by=by, paused=True)

    def resume(self, *, by: str) -> Rollout:
        """Let a paused one go on."""
        return self._say("go on", f"{self.migration} goes on, says {by}.", by=by, paused=False)

    def approve(self, *, by: str) -> Rollout:
        """Let it take the next step once all other conditions are met."""
        return self._say(
            "approve", f"the step of {self.migration} that is next was approved by {by}.", by=by, approved=True
        )

    def complete(self, *, by: str) -> Rollout:
        """Let the last stage end, so that nothing is held back.

        Raises:
            RolloutError: it is not in its last stage.
        """
        if not self.rollout().is_last_stage:
            raise RolloutError(f"{self.migration} is not in its last stage; only then can it be completed")
        return self.approve(by=by)

    def abort(self, *, because: str, by: str) -> Rollout:
        """Take it back to 0 %, at once if the flag can be reached."""
        sentence = f"{self.migration} was taken back to 0 % by {by}: {because}."
        rollout = self._say("abort", sentence, by=by, phase=RolloutPhase.ABORTED, changed=None, because=sentence)
        while rollout.changed is None:
            try:
                return self._apply(rollout)
            except OvertakenError:  # the controller carries it out as well
                rollout = self.rollout()
        return rollout

    def _say(self, action: str, sentence: str, *, by: str, **changes: object) -> Rollout:
        while True:
            rollout = self.rollout()
            if rollout.phase.is_over:
                raise RolloutError(
                    f"the rollout of {self.migration} is over ({rollout.phase}); there is nothing to {action}"
                )
            try:
                return self._keep(replace(rollout, **changes), action, sentence, by=by)  # type: ignore[arg-type]  # fields by name
            except OvertakenError:
                continue

    # What follows from a look

    def _seen(self, rollout: Rollout) -> tuple[Situation, Rollout]:
        at = self._now()
        reading = self._tallies.read(self.migration)
        status, flag = self._store.status(self.migration), self._shown()
        if not rollout.phase.is_over:
            rollout = with_calls(rollout, reading, flag, at=at, is_fleet=self._tallies.is_fleet)
        seen = Situation(
            at=at,
            age=reading.age,
            problem=reading.problem,
            tripped_by=status.tripped_by,
            frozen_by=status.frozen_by,
            epoch=status.epoch,
            flag=flag,
        )
        return seen, rollout

    def _do(self, rollout: Rollout, step: RolloutStep, seen: Situation) -> Rollout:
        if step.move is Move.END:
            return rollout
        if step.move is Move.APPLY:
            return self._apply(rollout)
        if step.move is Move.WAIT or (step.move is Move.HOLD and step.reason in rollout.noted):
            return self._store.keep(rollout)
        kept = self._keep(
            after(rollout, step, seen),
            step.move.value,
            step.sentence,
            by=CONTROLLER,
            reason=step.reason,
            numbers=step.numbers,
            start=grounds(rollout, seen),
        )
        return self._apply(kept) if step.move.changes_flag else kept

    def _apply(self, rollout: Rollout) -> Rollout:
        """Change the flag as intended and confirm that; one that is out of reach is tried again by the next look.

        Raises:
            OvertakenError: something else was decided meanwhile, which the next look carries out.
        """
        pending = PendingAction(
            migration=self.migration, change=partial(self._change_flag, rollout), number=rollout.record
        )
        pending.attempt(at=self._now(), clock=0.0)
        pending.note(self._store)
        self.problem = pending.problem or None
        if pending.ended_at is None:
            return self._confirmed(rollout)  # it may have been changed in part
        opened = rollout.opened or not pending.problem
        return self._confirmed(replace(rollout, changed=pending.ended_at, opened=opened))

    def _change_flag(self, rollout: Rollout) -> str:
        if rollout.phase.is_taken_back:
            self._dial.close(self.migration, because=rollout.because)
        elif rollout.opened:
            self._dial.set(self.migration, rollout.exposure)
        else:
            self._dial.open(self.migration, rollout.exposure)
        return str(rollout.exposure)

    def _confirmed(self, rollout: Rollout) -> Rollout:
        """Keep what came of a change of the flag.

        If something else was decided and carried out meanwhile, the flag may show either, so the later decision is due
        again.
        """
        try:
            return self._store.keep(rollout)
        except OvertakenError:
            self._make_due_again()
            raise

    def _make_due_again(self) -> None:
        while True:
            try:
                self._store.keep(replace(self.rollout(), changed=None))
            except OvertakenError:
                continue
            return

    def _keep(
        self,
        rollout: Rollout,
        action: str,
        sentence: str,
        *,
        by: str,
        reason: str | None = None,
        numbers: Mapping[str, float | int | str] | None = None,
        start: Mapping[str, object] | None = None,
    ) -> Rollout:
        shown = self._shown()
        record = DecisionRecord(
            at=self._now(),
            migration=self.migration,
            action=action,
            by=by,
            sentence=sentence,
            numbers=numbers_of(rollout) if numbers is None else numbers,
            rule=reason,
            start=start,
            flag_before=None if shown is None else _words(shown),
        )
        return self._store.keep(rollout, record, due=True)

    def _shown(self) -> FlagShown | None:
        try:
            return self._dial.shown(self.migration)
        except Exception:  # noqa: BLE001  # a vendor's client may fail in any way; the rollout is held and says so
            return None


def _words(shown: FlagShown) -> str:
    return f"{'on' if shown.enabled else 'off'}, {shown.exposure or 'several rollouts'}"
