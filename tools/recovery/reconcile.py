"""Reconciles unfinished uploads: those whose process died, and those that ended without a known outcome."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from io import FileIO
from pathlib import Path
from typing import Any

from shim.primitives import unforked
from tools.errors import ToolsError
from tools.files import only_this_file, open_regular
from tools.journal.port import CLAIMING, Entry, Facts, Intent, Journal, Opened, State, UploadSide
from tools.journal.protection import journaled
from tools.providers.spec import FILE_TYPE, guessed_mime_type, provider
from tools.recovery.decision import (
    SETTLED,
    RecoveryDecision,
    Resolution,
    Snapshot,
    Step,
    is_as_it_was,
    look_the_same,
    resolution_of,
)
from tools.recovery.inventory import Inventory, open_inventory
from tools.recovery.provider_files import Described
from tools.recovery.service_client import NoListingError, ServiceFailedError
from tools.recovery.stored import find_copy
from tools.settings import Settings
from tools.storage import UploadStorage
from tools.storage.port import StorageError
from tools.transport.rest import Sleep

MAX_UPLOADS = 1000
"""Unfinished uploads of one recovery; what is left is the next one's."""

MAX_AT_START = 100
"""Unfinished uploads that the start of a process takes on."""

START_SECONDS = 300.0
"""For how long recovery goes on after the start of a process; what is left stays in the journal."""

SECOND_LOOK_SECONDS = 1.0
"""A listing may lag behind, and a request may still be in flight whose sender is gone."""

LOOKS = 2
"""How often is looked before it counts that nothing was found."""

FLUSH_SECONDS = 10.0
"""How long is waited until the journal has everything."""

_logger = logging.getLogger(__name__)


class ContentChangedError(ToolsError):
    """A file that was to be uploaded again has another content by now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path.name} has changed since it was to be uploaded; it was not sent")


async def recover(
    settings: Settings, *, apply: bool = True, most: int = MAX_UPLOADS, sleep: Sleep = asyncio.sleep
) -> list[Resolution]:
    """Bring to an end the unfinished uploads that no process works on; oldest first.

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
    async with open_inventory(settings, sleep=sleep) as at:
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
    except Exception:  # no call waits for it; what is unfinished stays in the journal
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
    looks = [entry.intent for entry in first]
    return [*first, *(each for each in unfinished[most:] if any(look_the_same(each.intent, other) for other in looks))]


async def _resolved(at: Inventory, taken: Sequence[Entry], *, apply: bool, sleep: Sleep) -> list[Resolution]:
    """What holds a claim comes first: a repeat claims the content again, and would wait for itself."""
    found: dict[str, Resolution] = {}
    waiting = sorted(taken, key=lambda entry: entry.state not in CLAIMING)
    held: set[object] = set()
    for number in range(LOOKS):
        if number:
            await sleep(SECOND_LOOK_SECONDS)
        look = await Snapshot.at(at, waiting)
        again: list[Entry] = []
        for entry in waiting:
            decision = await _decision(look, entry)
            if decision.nothing_found and number < LOOKS - 1:
                again.append(entry)
                continue
            if decision.step is Step.REPEAT and entry.intent.content in held:
                decision = RecoveryDecision(step=Step.WAIT, reason="another upload of its content is not resolved")
            settled = await settle(at, look, entry, decision) if apply else resolution_of(entry, decision)
            if entry.state in CLAIMING and not settled.done:
                held.add(entry.intent.content)
            found[entry.intent.upload_id] = settled
        waiting = again
        if not waiting:
            break
    return [found[entry.intent.upload_id] for entry in taken]


async def _decision(look: Snapshot, entry: Entry) -> RecoveryDecision:
    try:
        return await look.decision(entry)
    except (ServiceFailedError, NoListingError, StorageError) as error:
        return RecoveryDecision(step=Step.UNKNOWN, reason=str(error))


def unresolved(found: Sequence[Resolution]) -> list[Resolution]:
    """Those of which the journal still has something to remember, after they were to be settled."""
    return [each for each in found if each.step not in SETTLED or not each.done]


async def repeat(intent: Intent, storage: UploadStorage) -> dict[str, Any]:
    """Upload it, if it still is what was to be uploaded; the result is that of the public function.

    The implementations are imported when they are needed: one that cannot be imported fails these uploads alone.

    Raises:
        ContentChangedError: the file has another content by now; nothing was sent.
        ValueError, OSError, RuntimeError: as the public function does.
    """
    path = Path(intent.path)
    with FileIO(await asyncio.to_thread(open_regular, intent.path)) as file, only_this_file(path, file):
        if await asyncio.to_thread(_hash_of, file) != intent.sha256:
            raise ContentChangedError(path)
        if intent.side is UploadSide.LEGACY:
            return await asyncio.to_thread(_by_legacy, intent, storage)
        return await _by_async(intent, storage)


def _hash_of(file: FileIO) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _by_legacy(intent: Intent, storage: UploadStorage) -> dict[str, Any]:
    to = provider(intent.provider)
    with unforked():
        module = import_module(to.legacy_module)
    legacy: Callable[..., dict[str, Any]] = inspect.unwrap(getattr(module, to.function))  # whatever the flag says
    return journaled(to)(legacy)(intent.path, storage, intent.purpose)


async def _by_async(intent: Intent, storage: UploadStorage) -> dict[str, Any]:
    with unforked():  # a child would wait for the rest of the import for ever
        from tools.engine.gateway import upload_through_gateway  # noqa: PLC0415  # see `repeat`

    return await upload_through_gateway(provider(intent.provider), intent.path, storage, intent.purpose)


# Carrying out what was decided. It may be cut off anywhere, and is begun again then.


class _NamedFile:
    """What a gateway asks of a file."""

    def __init__(self, intent: Intent) -> None:
        self.name = intent.filename
        self.size = intent.size


async def settle(inventory: Inventory, look: Snapshot, entry: Entry, decision: RecoveryDecision) -> Resolution:
    """Do what the decision says, and write down in the journal that it is done.

    What cannot be done is told in the resolution, and left to a later recovery.
    """
    work = _Settlement(inventory, look, entry, decision)
    steps = {Step.ADOPT: work.adopt, Step.REPEAT: work.repeat, Step.CLEAN_UP: work.clean_up}
    step = steps.get(decision.step)
    if step is None:
        return resolution_of(entry, decision)
    try:
        file_id = await step()
    except (ToolsError, OSError, RuntimeError, ValueError) as error:  # what uploads and services raise
        return replace(resolution_of(entry, work.decision), trouble=str(error))
    resolution = resolution_of(entry, work.decision)
    return replace(resolution, done=True, file_id=file_id, removed=tuple(work.removed))


class _Settlement:
    """One upload that is being settled.

    Attributes:
        decision: what is done, which may turn out to be another thing than what was decided.
        removed: the provider's ids of the files that were removed.
    """

    def __init__(self, inventory: Inventory, look: Snapshot, entry: Entry, decision: RecoveryDecision) -> None:
        self.decision = decision
        self.removed: list[str] = []
        self._inventory = inventory
        self._look = look
        self._entry = entry
        self._intent = entry.intent
        self._gateway = provider(entry.intent.provider)

    async def adopt(self) -> str | None:
        """Make copy and row good, remove what is too many."""
        keep = self.decision.keep
        assert keep is not None  # noqa: S101  # what adopting is
        object_id = await self._copy_made_good()
        if not await self._inventory.stored.rows(self._intent.provider, ids=[keep]):
            if object_id is None and not self._was_told(keep):
                await self._given_up(keep)
                return None
            await self._write_row(keep, object_id)
        await self._remove(*self.decision.remove)
        self._close(State.DONE, Facts(provider_file_id=keep, supabase_file_id=object_id))
        return keep

    async def repeat(self) -> str | None:
        """Upload it through the same implementation, which opens an intent of its own: this one gives its claim up."""
        await self._remove(*self.decision.remove)
        if self._entry.state in CLAIMING:
            self._inventory.journal.note(self._intent.upload_id, State.ABANDONED)
        result = await repeat(self._intent, self._inventory.storage)
        file_id = str(result[self._gateway.id_key])
        self._close(State.DONE, Facts(provider_file_id=file_id, supabase_file_id=str(result["supabase_file_id"])))
        return file_id

    async def clean_up(self) -> str | None:
        """Remove what is left of it; there is no file then."""
        await self._remove(*self.decision.remove)
        await remove_copy(self._inventory, self._entry)
        self._close(State.FAILED, Facts(error=f"recovery: {self.decision.reason}"))
        return None

    async def _given_up(self, file_id: str) -> None:
        """A file without a copy is no upload, and no caller was given it."""
        self.decision = RecoveryDecision(
            step=Step.CLEAN_UP,
            reason="its file is there without a copy, and the file to be uploaded is gone or has changed",
            remove=(file_id, *self.decision.remove),
        )
        await self.clean_up()

    def _was_told(self, file_id: str) -> bool:
        """Whether a caller was given this file."""
        return self._entry.state is State.UNKNOWN and self._entry.facts.provider_file_id == file_id

    async def _remove(self, *file_ids: str) -> None:
        for file_id in file_ids:
            await self._inventory.accounts[self._intent.provider].remove(file_id)
            self._look.gone.add(file_id)
            self.removed.append(file_id)

    async def _copy_made_good(self) -> str | None:
        """The id of the copy; where there is none it is stored, if the file to be uploaded is as it was."""
        found = await _copy_of(self._inventory, self._intent)
        if found is not None:
            return str(found["id"])
        if not await asyncio.to_thread(is_as_it_was, self._intent):
            return None
        return await asyncio.to_thread(
            self._inventory.storage.upload_file,
            self._gateway.storage_path(_NamedFile(self._intent)),
            await asyncio.to_thread(Path(self._intent.path).read_bytes),
            self._intent.filename,
            guessed_mime_type(self._intent.filename),
            FILE_TYPE,
        )

    async def _write_row(self, file_id: str, object_id: str | None) -> None:
        ids = {"provider_file_id": file_id, "supabase_file_id": object_id or ""}
        row = self._gateway.row(_NamedFile(self._intent), **ids, sha256=self._intent.sha256)
        await self._inventory.storage.record_upload_async(replace(row, supabase_file_id=object_id))

    def _close(self, state: State, facts: Facts) -> None:
        self._inventory.journal.close(self._intent.upload_id, state, facts)


async def _copy_of(inventory: Inventory, intent: Intent) -> Described | None:
    path = provider(intent.provider).storage_path(_NamedFile(intent))
    return await find_copy(inventory.stored, path, intent.sha256)


async def remove_copy(inventory: Inventory, entry: Entry) -> None:
    """Remove the copy of an upload that has come to nothing, unless another upload needs it."""
    copy = await _copy_of(inventory, entry.intent)
    if copy is None:
        return
    holds_claim = entry.state in CLAIMING
    lock = None if holds_claim else await claimed(inventory, entry.intent)
    if not holds_claim and lock is None:
        return  # an upload of this content is in flight: the copy is its
    try:
        if not await _is_needed(inventory, entry.intent, lock, str(copy["id"])):
            await inventory.stored.remove([str(copy["path"])])
    finally:
        if lock is not None:
            inventory.journal.close(lock, State.FAILED, Facts(error="a claim while the copy was removed"))


async def claimed(inventory: Inventory, intent: Intent) -> str | None:
    """Claim a content, so that no upload stores it meanwhile; the claim's id, or None if another upload has it."""
    upload_id = uuid.uuid4().hex
    # without a path: if this process is killed now, recovery has nothing to upload, and removes the copy
    claim = replace(intent, upload_id=upload_id, began_at=time.time(), path="")
    opening = await asyncio.wrap_future(inventory.journal.open(claim, overlapping=0.0))
    return upload_id if isinstance(opening, Opened) else None


async def _is_needed(inventory: Inventory, intent: Intent, lock: str | None, object_id: str) -> bool:
    """Whether a row or another unfinished upload, for whatever purpose, is about this copy or its content."""
    if await inventory.stored.rows(object_id=object_id):
        return True
    if await inventory.storage.find_upload_async(sha256=intent.sha256, provider=intent.provider) is not None:
        return True
    own = {intent.upload_id, lock}
    return any(
        other.intent.sha256 == intent.sha256 and other.intent.provider == intent.provider
        for other in await asyncio.to_thread(inventory.journal.unfinished)
        if other.intent.upload_id not in own
    )
