"""Carry out an upload's plan (`tools.journal.policy`), blocking or asynchronously; the caller does the rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from shim.http.exchanges import note_shared
from tools.journal.errors import JournalError
from tools.journal.policy import Ask, Pause, Plan, Record, Send, Settle, Store, Uploaded
from tools.journal.port import Finished, Opening

OPEN_SECONDS = 5.0
"""How long an upload waits for the journal; then it goes on without it. A file gives up much sooner by itself, a
database over the network a little sooner (`supabase_remote.OPEN_SECONDS`)."""

Work = Store | Send | Record | Settle
"""What the caller does."""


def carry_out(plan: Plan, perform: Callable[[Work], object]) -> Uploaded:
    """Drive a plan with a blocking `perform`. What it raises reaches the plan, and then the caller."""

    def outcome_of(step: Ask | Pause | Work) -> object:
        match step:
            case Ask():
                return _noted(_opening(step))
            case Pause(seconds=seconds):
                time.sleep(seconds)
            case _:
                return perform(step)
        return None

    try:
        step = next(plan)
        while True:
            try:
                outcome = outcome_of(step)
            except BaseException as error:  # noqa: BLE001  # the plan raises it again
                step = plan.throw(error)
            else:
                step = plan.send(outcome)
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]  # StopIteration is not generic


async def carry_out_async(plan: Plan, perform: Callable[[Work], Awaitable[object]]) -> Uploaded:
    """Drive a plan with an asynchronous `perform`; the event loop is never blocked."""

    async def outcome_of(step: Ask | Pause | Work) -> object:
        match step:
            case Ask():
                return _noted(await _opening_async(step))
            case Pause(seconds=seconds):
                await asyncio.sleep(seconds)
            case _:
                return await perform(step)
        return None

    try:
        step = next(plan)
        while True:
            try:
                outcome = await outcome_of(step)
            except BaseException as error:  # noqa: BLE001  # as above
                step = plan.throw(error)
            else:
                step = plan.send(outcome)
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]  # as above


def _noted(opening: Opening | None) -> Opening | None:
    """Note a call that shares another upload's file: it sends nothing itself, so there is nothing to compare."""
    if isinstance(opening, Finished):
        note_shared()
    return opening


def _opening(ask: Ask) -> Opening | None:
    try:
        return ask.future.result(OPEN_SECONDS)
    except (JournalError, TimeoutError):
        _give_up(ask)
        return None
    except BaseException:
        _give_up(ask)
        raise


async def _opening_async(ask: Ask) -> Opening | None:
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            return await asyncio.wrap_future(ask.future)
    except (JournalError, TimeoutError):
        _give_up(ask)
        return None
    except BaseException:
        _give_up(ask)
        raise


def _give_up(ask: Ask) -> None:
    """Nobody waits for the journal's answer any more: if it comes all the same, it is given back."""
    if not ask.future.cancel():
        ask.future.add_done_callback(ask.unwanted)
