"""How the shadow of an upload really uploads: what is noted of the primary run for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from migration import Call, Side
from shim.http.recording import SHARED, ExchangeLog, noting
from tools.recovery.places import can_be_read_back
from tools.settings import Settings, get_settings
from tools.shadowing.replay import Inputs
from tools.shadowing.trial import Entrance, UploadTrial, trial_of
from tools.storage.port import ProviderName, UploadStorage

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLive:
    """Really runs the other side of one upload function.

    Attributes:
        provider: to whom it uploads.
        files: the paths that a call uploads, from its own arguments.
        storage: the storage that a call uses, from its own arguments.
        instead: the call's arguments with other files and another storage in their places.
        sleep: waits between two attempts to look at a service.
    """

    provider: ProviderName
    files: Callable[..., Sequence[str | os.PathLike[str]]]
    storage: Callable[..., UploadStorage]
    instead: Callable[[Sequence[str | os.PathLike[str]], Any, tuple[Any, ...], Mapping[str, Any]], Arguments]
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    @contextmanager
    def record(self, call: Call) -> Iterator[UploadLiveRecording]:
        """Note what the primary is answered. Costs a stat a file and a copy of each (short) answer.

        Raises:
            TypeError: the files can be gone through only once, which is for the call itself to do.
        """
        recording = UploadLiveRecording(
            live=self,
            call=call,
            settings=get_settings(),
            storage=self.storage(*call.args, **call.kwargs),
            inputs=Inputs.of(self.files(*call.args, **call.kwargs)),
        )
        with noting(recording.log):
            yield recording


@dataclass(slots=True, kw_only=True)
class UploadLiveRecording:
    """The exchanges of one upload, and the state of its files before it."""

    live: UploadLive
    call: Call
    settings: Settings
    storage: UploadStorage
    inputs: Inputs
    log: ExchangeLog = field(default_factory=ExchangeLog)

    def refusal(self) -> str | None:
        """Why what the primary made is not known, or must not be made a second time."""
        if self.log.overflown or any(exchange.truncated for exchange in self.log.exchanges):
            return "the call's exchanges were too many or too long to be noted"
        if self.log.shared:
            return SHARED
        if any(exchange.status is None for exchange in self.log.exchanges):
            return "a request was never answered, so what the call has made is not known"
        if self.size() > self.settings.shadow_max_bytes:
            return f"more than {self.settings.shadow_max_bytes} bytes (SHADOW_MAX_BYTES)"
        if not can_be_read_back(self.storage):
            return f"nothing is known that could read back from a {type(self.storage).__name__}"
        return None

    def size(self) -> int:
        """Bytes of the files, as they were before the primary read them."""
        return self.inputs.size()

    def stale(self) -> bool:
        """Whether a file is not what it was before the primary read it."""
        return self.inputs.stale()

    @asynccontextmanager
    async def trial(self, side: Side) -> AsyncIterator[UploadTrial]:
        """A world in which the services are the real ones, and every name is marked.

        Raises:
            TrialRefusedError: the quota is used up, or a file cannot be copied.
            ServiceFailedError: a service does not say what the primary has made.
        """
        live = self.live
        entrance = Entrance(
            provider=live.provider,
            side=side,
            call_id=self.call.call_id,
            settings=self.settings,
            storage=self.storage,
            files=self.inputs.paths,
            size=self.size(),
            exchanges=self.log.exchanges,
            instead=lambda files, storage: live.instead(files, storage, self.call.args, self.call.kwargs),
            sleep=live.sleep,
        )
        async with trial_of(entrance) as trial:
            yield trial
