"""Protects the uploads of a function that knows nothing of the journal, from outside.

The function gets the storage that its caller gave it, behind a front that says what the storage did; what the provider
did is told by the recording of the function's HTTP requests. So the intent is durable before the first request, one
content is sent by one upload at a time, and what came of it is known to recovery.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from shim.http.attempts import Attempts, counting
from shim.http.httpx_tap import answers_as_they_come, answers_within_bounds, install_httpx_tap
from tools.files import FileState, open_regular, validate_upload
from tools.journal.port import ClaimTimeoutError, Facts, Finished, State, UploadSide
from tools.journal.upload import JournaledUpload, claimed, journaled_upload
from tools.providers.spec import Provider
from tools.settings import get_settings
from tools.storage.port import UploadRow

P = ParamSpec("P")
R = TypeVar("R")


def journaled(target: Provider) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator for a blocking upload function with the parameters `file_path`, `storage` and `purpose`.

    The function stores the copy with `storage.upload_file`, then sends the file over `httpx` or `httpx2`, then writes
    the row with `storage.record_upload`. In a shadow, and for a file that the function will refuse, it runs as it is,
    its answers within bounds.

    The decorated function also raises `target.failure` of a `ClaimTimeoutError`, when another upload of the same
    content did not end in time; nothing was sent then.
    """

    def protect(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def upload(*args: P.args, **kwargs: P.kwargs) -> R:
            with answers_within_bounds():
                began = time.monotonic()
                call = _bound(signature, args, kwargs)
                file = None if call is None else _File.at(call.arguments["file_path"], target.limit(get_settings()))
                if call is None or file is None:
                    return function(*args, **kwargs)  # which refuses them
                upload = journaled_upload(
                    target.name, file, purpose=call.arguments["purpose"], side=UploadSide.LEGACY, began=began
                )
                if upload is None:
                    return function(*args, **kwargs)
                try:
                    opening = claimed(upload)
                except ClaimTimeoutError as error:
                    raise target.failure(error) from error
                if opening is None:
                    return function(*args, **kwargs)
                follow = _Follower(upload, file, shared=opening if isinstance(opening, Finished) else None)
                call.arguments["storage"] = _FollowedStorage(call.arguments["storage"], follow)
                return follow.run(lambda: function(*call.args, **call.kwargs))

        return upload

    return protect


def _bound(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> inspect.BoundArguments | None:
    """The arguments by their names; None if they do not fit."""
    try:
        call = signature.bind(*args, **kwargs)
    except TypeError:
        return None
    call.apply_defaults()
    return call


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file as it was when it was hashed; `state` changes with every change of it or of what its path leads to."""

    path: Path
    name: str
    size: int
    sha256: str
    state: FileState

    @classmethod
    def at(cls, file_path: Any, limit: int) -> _File | None:
        """None for what cannot be uploaded: the function says why."""
        try:
            path = validate_upload(file_path, limit=limit).path
            with FileIO(os.fspath(path), opener=open_regular) as file:
                status = os.fstat(file.fileno())
                if status.st_size > limit:
                    return None
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, ValueError, TypeError):
            return None
        return cls(path=path, name=path.name, size=status.st_size, sha256=sha256, state=FileState.of(status))

    @property
    def is_as_it_was(self) -> bool:
        try:
            return FileState.of(self.path.stat()) == self.state
        except OSError:
            return False


class _Follower:
    """Writes one upload down while it runs.

    Args:
        upload: what is written down.
        file: what was claimed.
        shared: another upload has sent the content: its file serves this one, too.
    """

    def __init__(self, upload: JournaledUpload, file: _File, *, shared: Finished | None) -> None:
        self._upload = upload
        self._file = file
        self._shared = shared
        self._writes = shared is None
        self._recorded = False
        if shared is not None:
            upload.attempts.instead = json.dumps(
                {"id": shared.provider_file_id, "object": "file", "bytes": file.size, "filename": file.name}
            ).encode()

    def run(self, function: Callable[[], R]) -> R:
        """Run the upload; close its intent in whatever way it ends."""
        install_httpx_tap()
        try:
            with counting(self._upload.attempts):
                result = function()
        except BaseException as error:
            if self._writes:
                self._learn()
                self._upload.failed(error)
            raise
        if self._writes:
            self._upload.done(recorded=self._recorded)
        return result

    def stores(self) -> None:
        """The copy is about to be made, of what the path leads to by now."""
        if self._file.is_as_it_was:
            return
        # another content than the claimed one goes its way without the journal
        if self._writes:
            self._upload.journal.close(self._upload.intent.upload_id, State.FAILED, Facts(error="the file changed"))
            self._upload.journal.count_unjournaled()
        self._writes, self._shared, self._upload.attempts.instead = False, None, None

    def stored(self, supabase_file_id: Any) -> None:
        """The copy is made."""
        if self._writes:
            self._upload.stored(str(supabase_file_id))

    def records(self, row: UploadRow) -> bool:
        """Whether the row is to be written: the upload that sent the file has written that of a shared one."""
        if self._writes:
            self._upload.delivered(row.provider_file_id)
        return self._shared is None

    def recorded(self) -> None:
        """The row is written."""
        self._recorded = True

    def _learn(self) -> None:
        """What the provider answered last, if nothing came of it: a refusal made no file, an id is that of a file."""
        attempts: Attempts = self._upload.attempts
        if not attempts.attempts or not attempts.attempts[-1].is_success:
            return
        answer = _mapping(attempts.attempts[-1].body)
        file_id = answer.get("id")
        if isinstance(file_id, str) and file_id:
            self._upload.provider_file_id = file_id
        elif answer.get("error"):
            attempts.settle_last()


def _mapping(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


class _FollowedStorage:
    """A storage as it is, whose copies and rows are written down. What it asks over HTTP is no attempt to send."""

    def __init__(self, storage: Any, follow: _Follower) -> None:
        self._storage = storage
        self._follow = follow

    def upload_file(self, *args: Any, **kwargs: Any) -> Any:
        """As the storage's."""
        self._follow.stores()
        with counting(None), answers_as_they_come():
            stored = self._storage.upload_file(*args, **kwargs)
        self._follow.stored(stored)
        return stored

    def record_upload(self, row: UploadRow) -> Any:
        """As the storage's."""
        if not self._follow.records(row):
            return None
        with counting(None), answers_as_they_come():
            written = self._storage.record_upload(row)
        self._follow.recorded()
        return written

    def __getattr__(self, name: str) -> Any:
        """Everything else is the storage's own."""
        return getattr(self._storage, name)
