"""How the shadow of an upload runs: the primary's exchanges are noted, and answered again on the loopback."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from migration import Call, Side
from shim.http.confinement import confined_to
from shim.http.exchanges import SHARED, Exchange, ExchangeLog, noting
from shim.http.watching import hidden
from tools.settings import Settings, get_settings, use_settings
from tools.shadowing.answers import AnswerBook
from tools.shadowing.inputs import Inputs
from tools.shadowing.quiet import quiet
from tools.shadowing.recorder import Recorder
from tools.shadowing.repeats import counted_once
from tools.shadowing.services import LISTINGS, Target, known_credentials, target_of, with_every_service_at
from tools.shadowing.storage import LOCAL, rehearsal_storage
from tools.storage.port import UploadStorage

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadReplay:
    """Rehearses calls of one upload function.

    Attributes:
        files: the paths that a call uploads, from its own arguments.
        storage: the storage that a call uses, from its own arguments.
        with_storage: the call's arguments with another storage in its place.
        ordered: whether the order of requests is compared; several files at once may arrive in any order.
    """

    files: Callable[..., Sequence[str | os.PathLike[str]]]
    storage: Callable[..., UploadStorage]
    with_storage: Callable[[UploadStorage, tuple[Any, ...], Mapping[str, Any]], Arguments]
    ordered: bool = True

    @contextmanager
    def witness(self, call: Call) -> Iterator[UploadWitness]:
        """Note what the primary is answered. Costs a stat a file and a copy of each (short) answer.

        Raises:
            TypeError: the files can be gone through only once, which is for the call itself to do.
        """
        witness = UploadWitness(
            replay=self,
            call=call,
            settings=get_settings(),
            storage=self.storage(*call.args, **call.kwargs),
            inputs=Inputs.of(self.files(*call.args, **call.kwargs)),
        )
        with noting(witness.log):
            yield witness


@dataclass(slots=True, kw_only=True)
class UploadWitness:
    """The exchanges of one upload, and the state of its files before it."""

    replay: UploadReplay
    call: Call
    settings: Settings
    storage: UploadStorage
    inputs: Inputs
    log: ExchangeLog = field(default_factory=ExchangeLog)

    def refusal(self) -> str | None:  # noqa: PLR0911  # one for each reason
        """Why this call cannot be rehearsed, if it cannot."""
        if self.log.overflown or any(exchange.truncated for exchange in self.log.exchanges):
            return "the call's exchanges were too many or too long to be noted"
        if self.log.shared:
            return SHARED
        if any(exchange.status is None for exchange in self.log.exchanges):
            return "a request was never answered, so there is no answer to give again"
        if any(target in LISTINGS and exchange.status != HTTPStatus.OK for target, exchange in self._answers()):
            return "the provider did not list its files, so nothing was sent again, and no answer to that is known"
        limit = self.settings.shadow_max_bytes
        if self.inputs.size_now() > limit:
            return f"more than {limit} bytes (SHADOW_MAX_BYTES): legacy would hold all of them in memory again"
        if rehearsal_storage(self.storage, "", AnswerBook(()), []) is None:
            return f"nothing is known that could stand in for a {type(self.storage).__name__}"
        return None

    def size(self) -> int:
        """Bytes of the files, as they were before the primary read them."""
        return self.inputs.size()

    def stale(self) -> bool:
        """Whether a file is not what it was before the primary read it."""
        return self.inputs.stale()

    @asynccontextmanager
    async def rehearse(self, side: Side) -> AsyncIterator[UploadRehearsal]:  # noqa: ARG002  # both see the same world
        """A world in which every service is the recorder."""
        answers = AnswerBook(self._answers())
        recorder = Recorder(answers, known_credentials(self.settings))
        with hidden(), noting(None), quiet():
            async with recorder.serving():
                storage = rehearsal_storage(self.storage, recorder.address, answers, recorder.seen)
                assert storage is not None  # noqa: S101  # `refusal` was asked before
                args, kwargs = self.replay.with_storage(storage, self.call.args, self.call.kwargs)
                with (
                    use_settings(with_every_service_at(recorder.address, self.settings)),
                    confined_to(recorder.address),
                ):
                    yield UploadRehearsal(args, kwargs, recorder.seen, ordered=self.replay.ordered)

    def _answers(self) -> Iterator[tuple[Target, Exchange]]:
        for exchange in self.log.exchanges:
            if exchange.url.startswith(f"{LOCAL}:"):
                yield Target(LOCAL, exchange.method, exchange.url.removeprefix(f"{LOCAL}:")), exchange
            else:
                target = target_of(self.settings, exchange.method, exchange.url)
                if target is not None:
                    yield target, exchange


class UploadRehearsal:
    """One run in that world."""

    def __init__(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], seen: list[dict[str, object]], *, ordered: bool
    ) -> None:
        self.args = args
        self.kwargs = kwargs
        self._seen = seen
        self._ordered = ordered

    def seen(self) -> Sequence[Mapping[str, object]]:
        """What was asked of the services, in order (or, where order means nothing, sorted)."""
        seen = counted_once(self._seen)
        return seen if self._ordered else sorted(seen, key=repr)
