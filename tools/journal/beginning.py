"""Carry out an upload's plan (`tools.journal.policy`), blocking or asynchronously; the caller does the rest."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from shim.http.egress import is_shadow
from shim.http.recording import note_shared
from tools.journal.factory import get_journal
from tools.journal.policy import Ask, Pause, Plan, Record, Send, Settle, Store, Undertaking, Uploaded
from tools.journal.port import Finished, Intent, JournalError, Opening, UploadSide
from tools.providers import spec
from tools.settings import Settings, get_settings
from tools.storage.port import ProviderName


class LocalFile(Protocol):
    """A file, as far as the journal speaks of it."""

    @property
    def path(self) -> Path:
        """Where it was read."""
        ...

    @property
    def name(self) -> str:
        """Its name without the folder."""
        ...

    @property
    def size(self) -> int:
        """Its length in bytes."""
        ...


def undertaking(
    provider: ProviderName, file: LocalFile, *, sha256: str, purpose: str, side: UploadSide, began: float
) -> Undertaking | None:
    """What this call is about to do, for the journal; None in a shadow, which must not touch it.

    Args:
        provider: to whom the file goes.
        file: what is sent.
        sha256: hash of its content.
        purpose: what the provider is to use it for.
        side: which implementation carries it out.
        began: when the call began, by `time.monotonic`.
    """
    if is_shadow():
        return None
    settings = get_settings()
    intent = Intent(
        upload_id=str(uuid.uuid4()),
        provider=provider,
        account=account_of(provider, settings),
        purpose=purpose,
        sha256=sha256,
        filename=file.name,
        size=file.size,
        path=str(file.path.absolute()),
        side=side,
        began_at=time.time() - (time.monotonic() - began),
    )
    return Undertaking(
        journal=get_journal(settings),
        intent=intent,
        patience=settings.upload_timeout,
        began=began,
        clock=time.monotonic,
    )


def account_of(provider: ProviderName, settings: Settings) -> str:
    """The address under which a provider is asked: uploads to another one are of another account."""
    return spec.provider(provider).address(settings)


# Carry out an upload's plan (`tools.journal.policy`), blocking or asynchronously; the caller does the rest.

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
