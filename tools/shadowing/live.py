"""One real upload by the shadow: prepared, written down before a byte is sent, read back, and undone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from migration import Call, Side
from migration.model import SideEffects, StoreError, TrialRefusedError
from migration.shadow import UndoJournal, UndoState
from shim.http.egress import EgressGate, behind
from shim.http.recorder import why_not_repeatable
from shim.http.recording import ExchangeLog, noting
from shim.primitives import unforked
from tools.recovery.inventory import mark_of
from tools.recovery.provider_files import ProviderFiles
from tools.recovery.service_client import ServiceClient, ServiceFailedError
from tools.recovery.stored import can_be_read_back, contents_of
from tools.settings import Settings, use_settings
from tools.shadowing.marks import Marked, TrialStorage, make_copies, remove_copies
from tools.shadowing.reading import FileTraces, Reader, Things, stored_paths
from tools.shadowing.replay import Arguments, RecordedUpload, StrPath, UploadArguments, quiet
from tools.shadowing.undoing import Where, clean, described, journal_of, undo
from tools.storage.port import ProviderName

UNDO_SECONDS = 60.0
"""How long undoing may take at the end of a trial; what is then still there is left to a later clean-up."""

CLEANED_BEFORE = 3
"""After how many earlier trials that left something a trial cleans up before it begins."""

SETTLED_SECONDS = 60.0
"""How old these are: a request of one that was cut off may still be in flight."""


async def _prepared(recording: UploadLiveRecording, side: Side, where: Where, journal: UndoJournal) -> UploadTrial:
    folder = recording.settings.trials_folder / where.mark
    marked = await asyncio.to_thread(make_copies, where.mark, folder, recording.inputs.paths)
    reader = Reader(where.files, where.stored, marked)
    primary = await _Primary.of(recording, reader)
    return UploadTrial(recording, side, where, journal, marked=marked, reader=reader, primary=primary)


async def _ended(settings: Settings, where: Where, journal: UndoJournal, trial: UploadTrial | None) -> None:
    """Undo, and write down what has become of it, also when that is cut off."""
    state = UndoState.LEFT
    try:
        reached = UndoState.UNDONE if trial is None else await trial.undone()
        state = reached if reached is UndoState.KEPT else UndoState.LEFT
        await asyncio.to_thread(remove_copies, settings.trials_folder / where.mark)
        state = reached
    finally:
        journal.end(where.mark, state)  # in no thread: nothing may come between


@dataclass(frozen=True, slots=True, kw_only=True)
class _Primary:
    """What the primary run has made: how it is found, and how it was before the trial."""

    ids: Sequence[str]
    paths: Sequence[str]
    before: Things

    @classmethod
    async def of(cls, recording: UploadLiveRecording, reader: Reader) -> _Primary:
        traces = FileTraces(recording.settings, recording.live.provider)
        for exchange in recording.log.exchanges:
            traces.hear(exchange)
        paths = stored_paths(recording.settings, recording.log.exchanges)
        return cls(ids=traces.ids, paths=paths, before=await reader.of_primary(traces.ids, paths))

    async def now(self, reader: Reader) -> Things:
        """What it has made, as it is at this moment."""
        return await reader.of_primary(self.ids, self.paths)

    def harm(self, now: Things) -> str | None:
        """What of it is not as it was before the trial."""
        changed = self.before.changed(now)
        return f"changed: {', '.join(changed)}" if changed else None


class UploadTrial:
    """Implements `migration.Trial`."""

    def __init__(
        self,
        recording: UploadLiveRecording,
        side: Side,
        where: Where,
        journal: UndoJournal,
        *,
        marked: Marked,
        reader: Reader,
        primary: _Primary,
    ) -> None:
        self.seconds = recording.settings.shadow_live_timeout
        self._recording = recording
        self._side = side
        self._where = where
        self._journal = journal
        self._marked = marked
        self._reader = reader
        self._primary = primary
        self._gate = EgressGate()
        self._made = FileTraces(recording.settings, recording.live.provider, mark=where.mark, on_new=self._note)
        self._log = ExchangeLog(listener=self._made.hear)
        self._storage = TrialStorage(
            recording.storage,
            beginning=f"{where.files.folder}/{where.mark}",
            gate=self._gate,
            known={str(row.get("sha256")) for row in primary.before.rows},
            made=lambda: self._made.ids,
        )
        self.args, self.kwargs = recording.instead([file.instead() for file in marked.files], self._storage)
        self._own: dict[Side, Mapping[str, str]] = {}
        self._run_ended = False
        self._kept = False
        self._troubles: list[str] = []

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Record what runs in this context, let the users' uploads go first, and stop it when the trial is over."""
        # imported now: before the new implementation runs, nothing of it may be needed
        with unforked():  # a child would wait for the rest of the import for ever
            from tools.engine.limiter import Priority  # noqa: PLC0415
            from tools.engine.throttle import uploads_as  # noqa: PLC0415

        with (
            use_settings(self._recording.settings),
            noting(self._log),
            behind(self._gate),
            quiet(),
            uploads_as(Priority.SHADOW),
        ):
            yield

    async def read_back(self) -> SideEffects:
        """See `migration.Trial`.

        Raises:
            ServiceFailedError: a service does not say.
        """
        self._run_ended = True
        if self._log.overflown or any(exchange.truncated for exchange in self._log.exchanges):
            raise ServiceFailedError("record what the shadow did", "its exchanges were too many or too long")
        side = self._side
        primary, other = await self._primary.now(self._reader), await self._reader.of_trial(self._made.ids)
        self._own = {side.other: primary.own_ids(self._primary.ids), side: other.own_ids(self._made.ids)}
        first = await self._reader.facts(primary, self._primary.ids, {})
        second = await self._reader.facts(other, self._made.ids, self._storage.asked)
        untouched = "as it was"
        return SideEffects(
            primary={**first.facts, "of_the_primary": untouched},
            other={**second.facts, "of_the_primary": self._primary.harm(primary) or untouched},
            not_compared=tuple(dict.fromkeys([*first.missing, *second.missing])),
        )

    def plain(self, side: Side, facts: Mapping[str, object]) -> Mapping[str, object]:
        """See `migration.Trial`. The id of something that is not there, or is the primary's, stays as it is."""
        own = self._own.get(side, {})
        return {
            name: own.get(value, self._marked.plain(value)) if isinstance(value, str) else value
            for name, value in facts.items()
        }

    def keep(self) -> None:
        """See `migration.Trial`."""
        self._kept = True

    def troubles(self) -> Sequence[str]:
        """See `migration.Trial`."""
        return self._troubles

    async def undone(self) -> UndoState:
        """Let nothing more be made, remove what was made unless it is kept, and say what has become of it."""
        self._gate.shut()
        if self._kept:
            return UndoState.KEPT
        lost_one = self._made.has_lost_one(self._log.exchanges)
        try:
            async with asyncio.timeout(UNDO_SECONDS):
                trouble = await undo(
                    self._where,
                    self._made.ids,
                    certain=self._run_ended and not lost_one,
                    sleep=self._recording.live.sleep,
                )
                await self._make_sure_of_the_primary()
        except asyncio.CancelledError:
            self._troubles.append(f"undoing what a live shadow made under the name {self._where.mark}... was cut off")
            raise
        except TimeoutError:
            trouble = f"what a live shadow made under the name {self._where.mark}... was not gone in {UNDO_SECONDS:g} s"
        if trouble is not None:
            self._troubles.append(f"{trouble}; `shim shadows clean` tries again")
        # what was cut off may still make something: it is looked for again later
        return UndoState.UNDONE if trouble is None and self._run_ended else UndoState.LEFT

    async def _make_sure_of_the_primary(self) -> None:
        """Say so if undoing has touched what is not the trial's."""
        try:
            harm = self._primary.harm(await self._primary.now(self._reader))
        except ServiceFailedError:
            return  # it was as it was before the undoing, which removes by mark and by own id only
        if harm is not None:
            self._troubles.append(
                f"what the call itself had made is not as it was, after its shadow was undone: {harm}"
            )

    def _note(self, file_id: str) -> None:
        """Write down a file as soon as its id is known, also when it is made after the trial is over."""
        try:
            self._journal.note_made(self._where.mark, file_id)
            if self._gate.is_shut:
                self._journal.end(self._where.mark, UndoState.LEFT)
        except StoreError as error:  # it is known here all the same, and its name is marked
            self._troubles.append(str(error))


# The declaration: how the shadow of an upload really uploads.


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLive:
    """Really runs the shadows of calls through one entrance.

    Attributes:
        provider: to whom it uploads.
        entrance: where files and storage are among the arguments of a call.
        sleep: waits between two attempts to look at a service.
    """

    provider: ProviderName
    entrance: UploadArguments
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    def record(self, call: Call) -> AbstractContextManager[UploadLiveRecording]:
        """See `RecordedUpload.of`."""
        return UploadLiveRecording.of(call, self.entrance, live=self)


@dataclass(slots=True, kw_only=True)
class UploadLiveRecording(RecordedUpload):
    """What a live trial needs of the primary run of one upload."""

    live: UploadLive

    def refusal(self) -> str | None:
        """Why what the primary made is not known, or must not be made a second time."""
        if (reason := why_not_repeatable(self.log)) is not None:
            return reason
        if self.size() > self.settings.shadow_max_bytes:
            return f"more than {self.settings.shadow_max_bytes} bytes (SHADOW_MAX_BYTES)"
        if not can_be_read_back(self.storage):
            return f"nothing is known that could read back from a {type(self.storage).__name__}"
        return None

    def instead(self, files: Sequence[StrPath], storage: Any) -> Arguments:
        """The call's arguments with other files and another storage in their places."""
        args, kwargs = self.entrance.with_storage(storage, self.call.args, self.call.kwargs)
        return self.entrance.with_files(files, args, kwargs)

    @asynccontextmanager
    async def trial(self, side: Side) -> AsyncIterator[UploadTrial]:
        """A world in which the services are the real ones, and every name is marked; leaving it undoes what was made.

        Raises:
            TrialRefusedError: the quota is used up, or a file cannot be copied; nothing was made.
            ServiceFailedError: a service does not say what the primary has made; likewise.
            StoreError: the journal cannot be used; likewise.
        """
        sleep, journal = self.live.sleep, journal_of(self.settings)
        await clean(self.settings, most=CLEANED_BEFORE, older_than=SETTLED_SECONDS, sleep=sleep)
        async with ServiceClient(sleep) as client:
            where = Where(
                mark=mark_of(self.call.call_id),
                files=ProviderFiles(self.live.provider, self.settings, client),
                stored=contents_of(self.storage, client),
            )
            objects = max(1, len(self.inputs.paths))
            refusal = await asyncio.to_thread(
                journal.begin, where.mark, described(where), objects=objects, size=self.size()
            )
            if refusal is not None:
                raise TrialRefusedError(refusal)
            trial: UploadTrial | None = None
            try:
                trial = await _prepared(self, side, where, journal)
                with trial.in_force():
                    yield trial
            finally:
                await _ended(self.settings, where, journal, trial)
