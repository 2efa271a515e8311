"""Replays an upload: the primary's exchanges are recorded, and answered again on the loopback."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self

from aiohttp import web

from migration import Call, Side
from migration.running.propagation import current
from shim.http.egress import confined_to
from shim.http.facts import COMPARED_HEADERS, RequestFacts, RequestTarget, target_of
from shim.http.recorder import AnswerBook, LoopbackRecorder, counted_once, why_not_repeatable
from shim.http.recording import Exchange, ExchangeLog, noting, unobserved
from tools.files import FileState
from tools.providers.answers import listed_name
from tools.providers.spec import PROVIDERS
from tools.settings import Settings, get_settings, use_settings
from tools.shadowing.recorded_storage import LOCAL, RehearsedStorage, rehearsal_storage
from tools.storage.port import UploadStorage


def is_listing(target: RequestTarget) -> bool:
    """Looking changes nothing and is not compared: one side looks where the other sends again on a guess."""
    return target.service in PROVIDERS and (target.method, target.path) == ("GET", "/files")


def _addresses(settings: Settings) -> Mapping[str, tuple[str, str]]:
    """The name of the setting and the address of each service that is configured."""
    found = {name: (each.address_setting, each.address(settings)) for name, each in PROVIDERS.items()}
    supabase = {} if settings.supabase_url is None else {"supabase": ("supabase_url", settings.supabase_url)}
    return {name: where for name, where in (found | supabase).items() if where[1]}


def upload_target(settings: Settings, method: str, url: str) -> RequestTarget | None:
    """What a request is for; None for an address of no known service."""
    return target_of({name: address for name, (_, address) in _addresses(settings).items()}, method, url)


def may_upload(settings: Settings, method: str, url: str) -> bool:
    """Whether a request can be one of an upload: of a file to a provider, of an object to Supabase."""
    target = upload_target(settings, method, url)
    if target is None or target.method in {"GET", "HEAD", "DELETE"}:
        return False
    return target.path.startswith("/files" if target.service in PROVIDERS else "/storage/")


def with_every_service_at(recorder: str, settings: Settings) -> Settings:
    """The same settings with every service at the recorder's address."""
    places = {field: f"{recorder}/{service}" for service, (field, _) in _addresses(settings).items()}
    return settings.model_copy(update=places)


def known_credentials(settings: Settings) -> dict[str, str]:
    """Each configured credential with the name under which a report may show it."""
    secrets = {each.key_setting: each.secret(settings) for each in PROVIDERS.values()}
    secrets["supabase_service_role_key"] = settings.supabase_service_role_key
    return {secret.get_secret_value(): f"<{field}>" for field, secret in secrets.items() if secret is not None}


def _metadata(value: str) -> object:
    """Supabase's object metadata: JSON in base64; anything else is compared as it is."""
    try:
        return json.loads(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        return value


HEADERS: Final[Mapping[str, Callable[[str], object]]] = {
    **COMPARED_HEADERS,
    "accept-profile": str,
    "content-profile": str,
    "x-metadata": _metadata,
    "x-upsert": str,
}
"""What is compared of which headers: those of any service, and Supabase's."""


def is_final(answer: Exchange) -> bool:
    """Whether this answer is a refusal for good, which a retry does not change."""
    return any(each.files.refuses_for_good(answer.status, answer.body) for each in PROVIDERS.values())


def strangeness(request: RequestFacts) -> Callable[[Exchange], int]:
    """0 for an answer that can be about the file of a request, 1 if it can but for the name, 2 if it cannot.

    Several files that are uploaded at once may arrive in any order. A provider's answer names its file, but providers
    write names in their own way, so an answer is always given, if need be one for a file of this size.
    """

    def of(answer: Exchange) -> int:
        if request.filename is None:
            return 0
        try:
            body = json.loads(answer.body)
        except ValueError:
            return 0
        if not isinstance(body, dict) or "filename" not in body:
            return 0
        if body.get("bytes") != request.size:
            return 2
        return 0 if listed_name(str(body["filename"])) == listed_name(request.filename) else 1

    return of


# Replays an upload: the primary's exchanges are recorded, and answered again on the loopback.

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]
StrPath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Inputs:
    """The paths as the call was given them, each with its file's state; None where that could not be taken."""

    files: tuple[tuple[StrPath, FileState | None], ...]

    @classmethod
    def of(cls, paths: Sequence[StrPath]) -> Inputs:
        """The files as they are now. Costs a stat each.

        Raises:
            TypeError: the paths can be gone through only once, which is for the call itself to do.
        """
        if isinstance(paths, Iterator):
            raise TypeError("an iterator of files cannot be gone through a second time")
        return cls(tuple((path, _state_of(path)) for path in paths))

    @property
    def paths(self) -> list[StrPath]:
        """The paths alone."""
        return [path for path, _ in self.files]

    def size(self) -> int:
        """Bytes of the files, as they were before the call read them."""
        return sum(before.size for _, before in self.files if before is not None)

    def size_now(self) -> int:
        """Bytes of the files as they are; one that cannot be looked at is refused by both sides, so it counts for 0."""
        return sum(now.size for path in self.paths if (now := _state_of(path)) is not None)

    def stale(self) -> bool:
        """Whether a file is not what it was before the call read it."""
        return any(not _is_same(before, _state_of(path)) for path, before in self.files)


def _state_of(path: StrPath) -> FileState | None:
    try:
        return FileState.of(Path(path).stat())
    except (OSError, ValueError):
        return None


def _is_same(before: FileState | None, now: FileState | None) -> bool:
    return before is now if before is None or now is None else before.is_unchanged(now)


# Keeps a replay out of the log: the call that it repeats has logged the same, and now no row is really missing.

_LOGGERS = (
    "tools.engine.batch",
    "tools.engine.gateway",
    "tools.providers.upload_tool",
    "tools.storage.supabase_pooled",
)
"""The loggers of both implementations, beside those of the providers' legacy modules."""

_rehearsing: ContextVar[bool] = ContextVar("rehearsing", default=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what the implementations would log in this context from the log."""
    for name in (*_LOGGERS, *(each.legacy_module for each in PROVIDERS.values())):
        logging.getLogger(name).addFilter(_is_meant)  # which adds it once
    token = _rehearsing.set(True)
    try:
        yield
    finally:
        _rehearsing.reset(token)


def _is_meant(_record: logging.LogRecord) -> bool:
    return not current(_rehearsing)


def upload_recorder(answers: AnswerBook, credentials: Mapping[str, str]) -> LoopbackRecorder:
    """What answers the requests of one replayed upload.

    What is stored is recorded by its effect, where the object became complete.
    """
    seen: list[dict[str, object]] = []
    storage = RehearsedStorage(answers, credentials, seen)

    async def special(request: web.Request, target: RequestTarget) -> web.StreamResponse | None:
        if is_listing(target):
            # After an error the candidate looks before it sends again; what the provider refused is not in its list.
            return web.json_response({"object": "list", "data": [], "has_more": False})
        return await storage.answer(request, target)

    return LoopbackRecorder(
        answers=answers, credentials=credentials, headers=HEADERS, special=special, strangeness=strangeness, seen=seen
    )


# The replay: the primary's exchanges are recorded, and answered again on the loopback.


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadArguments:
    """Where the files and the storage are among the arguments of a function that uploads.

    Attributes:
        files: the paths that a call uploads, from its own arguments.
        storage: the storage that a call uses, from its own arguments.
        with_storage: the arguments with another storage.
        with_files: the arguments with other files.
        several: it takes several files, which may be sent in any order.
    """

    files: Callable[..., Sequence[StrPath]]
    storage: Callable[..., UploadStorage]
    with_storage: Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Arguments]
    with_files: Callable[[Sequence[StrPath], tuple[Any, ...], Mapping[str, Any]], Arguments]
    several: bool = False


@dataclass(slots=True, kw_only=True)
class RecordedUpload:
    """The primary run of one upload: its exchanges, and the state of its files before it."""

    entrance: UploadArguments
    call: Call
    settings: Settings
    storage: UploadStorage
    inputs: Inputs
    log: ExchangeLog = field(default_factory=ExchangeLog)

    def __post_init__(self) -> None:
        self.log.concerns = partial(may_upload, self.settings)

    @classmethod
    @contextmanager
    def of(cls, call: Call, entrance: UploadArguments, **own: Any) -> Iterator[Self]:
        """Note what the primary is answered in this context. Costs a stat a file and a copy of each (short) answer.

        Raises:
            TypeError: the files can be gone through only once, which is for the call itself to do.
        """
        recording = cls(
            entrance=entrance,
            call=call,
            settings=get_settings(),
            storage=entrance.storage(*call.args, **call.kwargs),
            inputs=Inputs.of(entrance.files(*call.args, **call.kwargs)),
            **own,
        )
        with noting(recording.log):
            yield recording

    def size(self) -> int:
        """Bytes of the files, as they were before the primary read them."""
        return self.inputs.size()

    def stale(self) -> bool:
        """Whether a file is not what it was before the primary read it."""
        return self.inputs.stale()


@dataclass(frozen=True, slots=True)
class UploadReplay:
    """Rehearses calls through one entrance."""

    entrance: UploadArguments

    def record(self, call: Call) -> AbstractContextManager[UploadRecording]:
        """See `RecordedUpload.of`."""
        return UploadRecording.of(call, self.entrance)


class UploadRecording(RecordedUpload):
    """What a replay needs of the primary run of one upload."""

    def refusal(self) -> str | None:
        """Why this call cannot be replayed, if it cannot."""
        if (reason := why_not_repeatable(self.log)) is not None:
            return reason
        if any(is_listing(target) and exchange.status != HTTPStatus.OK for target, exchange in self._answers()):
            return "the provider did not list its files, so nothing was sent again, and no answer to that is known"
        limit = self.settings.shadow_max_bytes
        if self.inputs.size_now() > limit:
            return f"more than {limit} bytes (SHADOW_MAX_BYTES): legacy would hold all of them in memory again"
        if rehearsal_storage(self.storage, "", AnswerBook(()), []) is None:
            return f"nothing is known that could replace a {type(self.storage).__name__}"
        return None

    @asynccontextmanager
    async def rehearse(self, side: Side) -> AsyncIterator[UploadRehearsal]:  # noqa: ARG002  # both see the same world
        """A world in which every service is the recorder."""
        answers = AnswerBook(self._answers(), is_final)
        recorder = upload_recorder(answers, known_credentials(self.settings))
        with unobserved(), noting(None), quiet():
            async with recorder.serving():
                storage = rehearsal_storage(self.storage, recorder.address, answers, recorder.seen)
                assert storage is not None  # noqa: S101  # `refusal` was asked before
                args, kwargs = self.entrance.with_storage(storage, self.call.args, self.call.kwargs)
                with (
                    use_settings(with_every_service_at(recorder.address, self.settings)),
                    confined_to(recorder.address),
                ):
                    yield UploadRehearsal(args, kwargs, recorder.seen, ordered=not self.entrance.several)

    def _answers(self) -> Iterator[tuple[RequestTarget, Exchange]]:
        for exchange in self.log.exchanges:
            if exchange.url.startswith(f"{LOCAL}:"):
                yield RequestTarget(LOCAL, exchange.method, exchange.url.removeprefix(f"{LOCAL}:")), exchange
            else:
                target = upload_target(self.settings, exchange.method, exchange.url)
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
