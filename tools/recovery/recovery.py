"""Recovery: uploads whose process died, and those that ended without a known outcome, are brought to an end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tools.journal.port import CLAIMING, Entry, Journal
from tools.recovery.finding import SETTLED, Resolution, Step, Verdict
from tools.recovery.look import Look, Services, Sleep, services
from tools.recovery.rest_client import NoListingError, ServiceFailedError
from tools.recovery.settle import resolution_of, settle
from tools.recovery.verdict import look_the_same
from tools.settings import Settings
from tools.storage.port import StorageError

MAX_UPLOADS = 1000
"""Unfinished uploads of one recovery; what is left is the next one's."""

MAX_AT_START = 100
"""Unfinished uploads that the start of a process takes on."""

START_SECONDS = 300.0
"""For how long recovery goes on after the start of a process; what is left stays in the journal."""

SECOND_LOOK_SECONDS = 1.0
"""A listing may lag behind, and a request may still be under way that lost its sender."""

LOOKS = 2
"""How often is looked before it counts that nothing was found."""

FLUSH_SECONDS = 10.0
"""How long is waited until the journal has everything."""

_logger = logging.getLogger(__name__)


async def recover(
    settings: Settings, *, apply: bool = True, most: int = MAX_UPLOADS, sleep: Sleep = asyncio.sleep
) -> list[Resolution]:
    """Bring unfinished uploads to an end that nobody works on; oldest first.

    Whatever is decided about an upload is decided while this process owns it, so two of these never work on the same.

    Args:
        settings: where everything is.
        apply: do what is decided; else it is only told.
        most: as many at most.
        sleep: waits.

    Raises:
        JournalError: the journal cannot be used.
        ConfigurationError, ServiceFailedError: the storage cannot be looked at.
    """
    async with services(settings, sleep=sleep) as at:
        unfinished = await asyncio.to_thread(at.journal.unfinished)
        with _taken_over(at.journal) as taken:
            for entry in _chosen(unfinished, most):
                mine = await asyncio.to_thread(at.journal.take_over, entry.intent.upload_id)
                if mine is not None:
                    taken.append(mine)
            found = await _resolved(at, list(taken), apply=apply, sleep=sleep) if taken else []
        await asyncio.to_thread(at.journal.flush, FLUSH_SECONDS)
        return found


async def recover_in_background(settings: Settings) -> None:
    """`recover` for the start of a process: bounded, with its result in the log."""
    try:
        async with asyncio.timeout(START_SECONDS):
            found = await recover(settings, most=MAX_AT_START)
    except TimeoutError:
        _logger.warning("recovery of uploads did not end within %g s; `shim reconcile` goes on", START_SECONDS)
    except Exception:  # it is nobody's call; what is unfinished stays in the journal
        _logger.exception("unfinished uploads could not be recovered")
    else:
        for each in found:
            level = logging.INFO if each.done else logging.WARNING
            told = each.trouble or each.reason
            _logger.log(level, "upload %s to %s: %s: %s", each.upload_id, each.provider, each.step, told)


@contextmanager
def _taken_over(journal: Journal) -> Iterator[list[Entry]]:
    """Give back what is not closed by then, also when that is cut off; closing gives an intent up as well."""
    taken: list[Entry] = []
    try:
        yield taken
    finally:
        for entry in taken:
            journal.release(entry.intent.upload_id)


def _chosen(unfinished: Sequence[Entry], most: int) -> list[Entry]:
    """The oldest, and all that look the same as one of them: they can only be judged together."""
    first = unfinished[:most]
    return [*first, *(each for each in unfinished[most:] if any(_alike(each, other) for other in first))]


def _alike(one: Entry, other: Entry) -> bool:
    return look_the_same(one.intent, other.intent)


async def _resolved(at: Services, taken: Sequence[Entry], *, apply: bool, sleep: Sleep) -> list[Resolution]:
    """What holds a claim comes first: a repeat claims the content anew, and would wait for itself."""
    found: dict[str, Resolution] = {}
    waiting = sorted(taken, key=lambda entry: entry.state not in CLAIMING)
    held: set[tuple[str, ...]] = set()
    for number in range(LOOKS):
        if number:
            await sleep(SECOND_LOOK_SECONDS)
        look = await Look.at(at, waiting)
        again: list[Entry] = []
        for entry in waiting:
            verdict = await _verdict(look, entry)
            if verdict.nothing_found and number < LOOKS - 1:
                again.append(entry)
                continue
            if verdict.step is Step.REPEAT and _content(entry) in held:
                verdict = Verdict(step=Step.WAIT, reason="another upload of its content is not resolved")
            settled = await settle(at, look, entry, verdict) if apply else resolution_of(entry, verdict)
            if entry.state in CLAIMING and not settled.done:
                held.add(_content(entry))
            found[entry.intent.upload_id] = settled
        waiting = again
        if not waiting:
            break
    return [found[entry.intent.upload_id] for entry in taken]


def _content(entry: Entry) -> tuple[str, ...]:
    """What a claim is on."""
    intent = entry.intent
    return intent.provider, intent.account, intent.purpose, intent.sha256


async def _verdict(look: Look, entry: Entry) -> Verdict:
    try:
        return await look.verdict(entry)
    except (ServiceFailedError, NoListingError, StorageError) as error:
        return Verdict(step=Step.UNKNOWN, reason=str(error))


def unresolved(found: Sequence[Resolution]) -> list[Resolution]:
    """Those of which the journal still has something to remember, after they were to be settled."""
    return [each for each in found if each.step not in SETTLED or not each.done]
