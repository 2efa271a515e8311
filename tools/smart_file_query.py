"""Answers a question about a file: uploads it unless a provider has it already, extracts its text, and asks."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any, Literal

from shim.http.httpx_tap import answers_within_bounds
from tools.errors import ConfigurationError, UnknownProviderError
from tools.files import only_this_file, open_beneath, too_large, validate_upload
from tools.providers.answers import FileGoneError
from tools.providers.spec import PROVIDERS, Provider
from tools.settings import get_settings
from tools.storage import UploadStorage, get_storage
from tools.storage.port import StorageError

ErrorType = Literal["timeout", "upload_failed", "query_failed"]

logger = logging.getLogger(__name__)


AUTO = "auto"
"""The argument `provider` that leaves the choice open: the first registered one is asked first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What was asked for, with the file as it was found.

    Attributes:
        file: the file itself, open for as long as it is asked about: code that opens `path` meanwhile gets this file or
            an error.
    """

    path: Path
    file: FileIO
    sha256: str
    question: str
    providers: tuple[Provider, ...]
    model: str | None

    def model_for(self, provider: Provider) -> str:
        """The model to ask. The one that was asked for means nothing to another provider than the one asked for."""
        wanted = self.model if provider is self.providers[0] else None
        return wanted or provider.default_model(get_settings())


@dataclass(frozen=True, slots=True, kw_only=True)
class _HeldFile:
    """Where the file is."""

    provider: Provider
    file_id: str
    deduplicated: bool


class _QueryError(Exception):
    """The query ended without an answer."""

    def __init__(self, error_type: ErrorType, message: str) -> None:
        self.error_type = error_type
        super().__init__(message)


class SmartFileQueryTool:
    """Asks a question about a file, choosing a provider and uploading the file as needed."""

    name = "smart_file_query"

    def __init__(self, storage: UploadStorage | None = None) -> None:
        self._storage = storage

    async def execute(self, arguments: Mapping[str, Any]) -> str:
        """Answer a question about a file.

        A provider that does not take the file is followed by the next. After a timeout none is: the upload may still be
        running.

        Args:
            arguments: `file_path` (within the allowed roots, symbolic links resolved), `question`,
                `provider` (the one to begin with; `auto`, the default, is the first registered one),
                `model` (default: the provider's configured one).

        Returns:
            JSON text with `status` (`success` or `error`), `content` (the answer, or what went wrong),
            `content_type` and `metadata`. The metadata of a success are `provider`, `model`, `file_id`, `filename`
            and `deduplicated`; of an error `error_type`: `timeout`, `upload_failed` (also for a file that may not or
            cannot be read) or `query_failed` (also for wrong arguments).
        """
        try:
            answer, metadata = await self._answer(arguments)
        except _QueryError as error:
            return _document("error", str(error), {"error_type": error.error_type})
        return _document("success", answer, metadata)

    async def _answer(self, arguments: Mapping[str, Any]) -> tuple[str, dict[str, object]]:
        request = await _request(arguments)
        with request.file, only_this_file(request.path, request.file):
            return await self._answer_about(request)

    async def _answer_about(self, request: _Request) -> tuple[str, dict[str, object]]:
        storage = await self._configured_storage()
        upload = await _known_or_uploaded(request, storage)
        try:
            answer = await _asked(request, upload)
        except FileGoneError:
            upload = await _uploaded_again(request, upload, storage)
            answer = await _asked(request, upload)
        return answer, {
            "provider": upload.provider.name,
            "model": request.model_for(upload.provider),
            "file_id": upload.file_id,
            "filename": request.path.name,
            "deduplicated": upload.deduplicated,
        }

    async def _configured_storage(self) -> UploadStorage:
        if self._storage is not None:
            return self._storage
        try:
            return await asyncio.to_thread(get_storage)
        except ConfigurationError as error:
            raise _QueryError("upload_failed", str(error)) from error


async def _request(arguments: Mapping[str, Any]) -> _Request:
    for name in ("file_path", "question"):
        if not isinstance(arguments.get(name), str) or not arguments[name].strip():
            raise _QueryError("query_failed", f"'{name}' is missing: give it as text")
    providers = _in_order(arguments.get("provider") or AUTO)
    try:
        path, file, sha256 = await asyncio.to_thread(open_allowed, arguments["file_path"])
    except (ValueError, OSError) as error:
        raise _QueryError("upload_failed", str(error)) from error
    return _Request(
        path=path,
        file=file,
        sha256=sha256,
        question=arguments["question"],
        providers=providers,
        model=arguments.get("model") or None,
    )


def _in_order(wanted: str) -> tuple[Provider, ...]:
    """The providers to ask, one after the other: the wanted one, then the rest."""
    if wanted == AUTO:
        return tuple(PROVIDERS.values())
    first = PROVIDERS.get(wanted)
    if first is None:
        raise _QueryError("query_failed", str(UnknownProviderError(wanted, (AUTO, *PROVIDERS))))
    return (first, *(each for each in PROVIDERS.values() if each is not first))


async def _known_or_uploaded(request: _Request, storage: UploadStorage) -> _HeldFile:
    """The file at the first provider that has it or takes it."""
    refusals: list[str] = []
    for provider in request.providers:
        known = await asyncio.to_thread(_known_id, provider, request, storage)
        if known is not None:
            return _HeldFile(provider=provider, file_id=known, deduplicated=True)
        try:
            return await _uploaded(request, provider, storage)
        except _QueryError as error:
            if error.error_type == "timeout":
                raise
            logger.warning("%s did not take the file: %s", provider.name, error)
            refusals.append(str(error))
    raise _QueryError("upload_failed", "; ".join(refusals))


def _known_id(provider: Provider, request: _Request, storage: UploadStorage) -> str | None:
    try:
        known = storage.find_upload(sha256=request.sha256, provider=provider.name)
    except StorageError:
        logger.exception("cannot tell whether %s has the file already, so it is uploaded", provider.name)
        return None
    return None if known is None else known.provider_file_id


async def _uploaded(request: _Request, provider: Provider, storage: UploadStorage) -> _HeldFile:
    seconds = get_settings().upload_timeout
    try:
        async with asyncio.timeout(seconds):
            uploaded = await asyncio.to_thread(provider.upload, request.path, storage)
    except TimeoutError as error:
        raise _QueryError("timeout", f"the upload to {provider.name} did not end within {seconds:g} s") from error
    except Exception as error:
        raise _QueryError("upload_failed", str(error)) from error
    return _HeldFile(provider=provider, file_id=str(uploaded[provider.id_key]), deduplicated=False)


async def _uploaded_again(request: _Request, gone: _HeldFile, storage: UploadStorage) -> _HeldFile:
    """The tracking table named a file that the provider no longer has."""
    logger.warning("%s no longer has %s, so the file is uploaded again", gone.provider.name, gone.file_id)
    await asyncio.to_thread(_mark_deleted, request, gone, storage)
    return await _uploaded(request, gone.provider, storage)


def _mark_deleted(request: _Request, gone: _HeldFile, storage: UploadStorage) -> None:
    """Let the table name a file no more that is gone. If that fails, the next caller meets it again."""
    try:
        row = storage.find_upload(sha256=request.sha256, provider=gone.provider.name)
        if row is not None and row.provider_file_id == gone.file_id:
            storage.record_upload(replace(row, upload_status="deleted"))
    except StorageError:
        logger.exception("the row of %s cannot be marked as deleted", gone.file_id)


async def _asked(request: _Request, upload: _HeldFile) -> str:
    """The provider's answer.

    Raises:
        FileGoneError: the tracked upload is no longer there.
        _QueryError: there is no answer for any other reason.
    """
    seconds = get_settings().query_timeout
    client, model = upload.provider.client, request.model_for(upload.provider)
    try:
        async with asyncio.timeout(seconds):
            with answers_within_bounds():
                text = await asyncio.to_thread(client.extract_text, request.path, upload.file_id, timeout=seconds)
                return await asyncio.to_thread(client.ask, request.question, text, model=model, timeout=seconds)
    except TimeoutError as error:
        raise _QueryError("timeout", f"{upload.provider.name} did not answer within {seconds:g} s") from error
    except FileGoneError as error:
        if upload.deduplicated:
            raise
        raise _QueryError("query_failed", str(error)) from error
    except Exception as error:
        raise _QueryError("query_failed", str(error)) from error


def _document(status: Literal["success", "error"], content: str, metadata: Mapping[str, object]) -> str:
    return json.dumps(
        {"status": status, "content": content, "content_type": "text", "metadata": metadata}, ensure_ascii=False
    )


# The files that may be asked about: those within `SHIM_ALLOWED_ROOTS`, whatever links lead to or from there.


def open_allowed(file_path: str) -> tuple[Path, FileIO, str]:
    """Open a file that may be asked about, and hash it.

    The file stays open, so that what was checked is what is read later, whatever its path leads to by then.

    Returns:
        Its path without symbolic links, the open file (the caller closes it), and its SHA-256 in hexadecimal.

    Raises:
        ValueError: it lies outside the allowed folders, does not exist, is no regular file, or is too large.
        OSError: it cannot be opened.
    """
    settings = get_settings()
    root, path = _allowed(file_path)
    limit = max(each.limit(settings) for each in PROVIDERS.values())
    validate_upload(path, limit=limit)
    with ExitStack() as until_it_is_known:
        file = until_it_is_known.enter_context(open_beneath(root, path))
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise too_large(path, size=size, limit=limit)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        until_it_is_known.pop_all()
    return path, file, sha256


def _allowed(file_path: str) -> tuple[Path, Path]:
    """The allowed root that the file lies in, and where it lies, both without links."""
    path = Path(file_path).resolve()
    roots = [root.resolve() for root in get_settings().shim_allowed_roots or (Path.cwd(),)]
    for root in roots:
        if path.is_relative_to(root):
            return root, path
    allowed = ", ".join(str(root) for root in roots)
    raise ValueError(f"{file_path} lies outside the allowed folders ({allowed}); SHIM_ALLOWED_ROOTS sets them")
