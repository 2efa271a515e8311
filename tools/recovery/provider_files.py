"""The files that one provider's account holds, as far as the provider lets them be looked at.

Kimi tells about one file, lists all, and gives back the text that it read. GLM lists at best (the listing is documented
for a sibling service only) and gives nothing back.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from http import HTTPStatus
from typing import Any, Protocol

from shim.http.redaction import HiddenText
from tools.providers.answers import required_key
from tools.recovery.rest_client import Answer, Asker, Digest, NoListingError, ServiceFailedError
from tools.settings import Settings
from tools.storage.port import ProviderName

MAX_PAGES = 20
"""Pages of a listing that are looked at."""

PARSING_SECONDS = 5.0
"""How long a provider may take to read a file before its text is left out of the comparison."""

PAGE_SIZE = 100
"""Files of one page."""

_POLL_SECONDS = 0.25
_UNFINISHED = frozenset({"created", "processing", "uploading", "pending"})

Described = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All files of an account.

    Attributes:
        files: as the provider describes them.
        taken_at: the provider's time when it did, in seconds since the epoch; ours if it does not tell.
    """

    files: tuple[Described, ...]
    taken_at: float


class ProviderFiles(Protocol):
    """Where a provider keeps files."""

    @property
    def name(self) -> ProviderName:
        """The provider, as in rows and settings."""
        ...

    @property
    def label(self) -> str:
        """The provider, as in messages."""
        ...

    @property
    def address(self) -> str:
        """The base address of its API."""
        ...

    async def look(self, ids: Collection[str], *, patience: float = 0.0) -> dict[str, Described]:
        """Those of the files that are there, described; a file that is still being read is waited for so many seconds.

        Raises:
            NoListingError: the provider does not say.
            ServiceFailedError: the provider cannot be asked.
        """
        ...

    async def listed(self) -> Listing:
        """All files; raises as `look`."""
        ...

    async def marked(self, mark: str) -> list[str]:
        """The ids of the files whose names begin with the mark; raises as `look`."""
        ...

    async def text_of(self, file_id: str, mark: str) -> Digest | str:
        """What the provider read out of the file (where it names the file, without the mark), or why that is not known.

        Raises:
            ServiceFailedError: the provider cannot be asked.
        """
        ...

    async def remove(self, file_id: str) -> None:
        """Delete a file; one that is not there is as good.

        Raises:
            ServiceFailedError: the provider did not delete it.
        """
        ...


def provider_files(provider: ProviderName, settings: Settings, asker: Asker) -> ProviderFiles:
    """The files at a provider.

    Raises:
        MissingKeyError: no key is configured.
    """
    return KimiFiles(settings, asker) if provider == "kimi" else GlmFiles(settings, asker)


class _Files:
    name: ProviderName
    label: str

    def __init__(self, address: str, key: str, asker: Asker) -> None:
        self.address = address
        self._headers = {"Authorization": HiddenText(f"Bearer {key}")}
        self._asker = asker

    async def listed(self) -> Listing:
        """See `ProviderFiles.listed`."""
        raise NotImplementedError

    async def marked(self, mark: str) -> list[str]:
        """See `ProviderFiles.marked`."""
        return [str(file["id"]) for file in (await self.listed()).files if mark in str(file.get("filename"))]

    async def remove(self, file_id: str) -> None:
        """See `ProviderFiles.remove`."""
        action = f"delete {file_id} at {self.label}"
        answer = await self._ask(action, "DELETE", f"/{file_id}")
        if answer.status == HTTPStatus.NOT_FOUND:
            return
        document = answer.document()
        if not answer.succeeded or not isinstance(document, dict) or document.get("deleted") is not True:
            raise ServiceFailedError(action, f"it was not deleted (HTTP {answer.status})")

    async def _ask(self, action: str, method: str, path: str = "", params: Mapping[str, str] | None = None) -> Answer:
        return await self._asker.ask(
            action, method, f"{self.address}/files{path}", headers=self._headers, params=params
        )


class KimiFiles(_Files):
    """Files at Kimi."""

    name: ProviderName = "kimi"
    label = "Kimi"

    def __init__(self, settings: Settings, asker: Asker) -> None:
        super().__init__(settings.kimi_api_url, required_key(settings.kimi_api_key, "KIMI_API_KEY"), asker)

    async def look(self, ids: Collection[str], *, patience: float = 0.0) -> dict[str, Described]:
        """See `ProviderFiles.look`."""
        found = {}
        for file_id in ids:
            described = await self._look_at(file_id, patience)
            if described is not None:
                found[file_id] = described
        return found

    async def listed(self) -> Listing:
        """See `ProviderFiles.listed`."""
        answer = await self._ask("list the files at Kimi", "GET")
        return Listing(files=tuple(_listed(answer, self.label)), taken_at=_server_time(answer))

    async def text_of(self, file_id: str, mark: str) -> Digest | str:
        """See `ProviderFiles.text_of`."""
        answer = await self._ask(f"read the text of {file_id} at Kimi", "GET", f"/{file_id}/content")
        if answer.status == HTTPStatus.NOT_FOUND:
            return "its text, which Kimi does not have (yet)"
        if not answer.succeeded:
            raise ServiceFailedError(f"read the text of {file_id} at Kimi", f"HTTP {answer.status}")
        return Digest.of(_plain_text(answer.body).replace(mark.encode(), b""))

    async def _look_at(self, file_id: str, patience: float) -> Described | None:
        waited = 0.0
        while True:
            answer = await self._ask(f"look at {file_id} at Kimi", "GET", f"/{file_id}")
            if answer.status == HTTPStatus.NOT_FOUND:
                return None
            described = answer.document()
            if not answer.succeeded or not isinstance(described, dict):
                raise ServiceFailedError(f"look at {file_id} at Kimi", f"HTTP {answer.status}")
            if described.get("status") not in _UNFINISHED or waited >= patience:
                return described
            await self._asker.sleep(_POLL_SECONDS)
            waited += _POLL_SECONDS


class GlmFiles(_Files):
    """Files at GLM."""

    name: ProviderName = "glm"
    label = "GLM"

    def __init__(self, settings: Settings, asker: Asker) -> None:
        super().__init__(settings.glm_api_url, required_key(settings.glm_api_key, "GLM_API_KEY"), asker)

    async def look(self, ids: Collection[str], *, patience: float = 0.0) -> dict[str, Described]:  # noqa: ARG002  # its files have no status
        """See `ProviderFiles.look`."""
        wanted = set(ids)
        if not wanted:
            return {}
        return {str(file["id"]): file for file in (await self.listed()).files if file["id"] in wanted}

    async def text_of(self, file_id: str, mark: str) -> Digest | str:  # noqa: ARG002  # the port's signature
        """See `ProviderFiles.text_of`."""
        return "the content at GLM, which gives none back"

    async def listed(self) -> Listing:
        """See `ProviderFiles.listed`."""
        files: list[Described] = []
        query = {"limit": str(PAGE_SIZE)}
        for _ in range(MAX_PAGES):
            try:
                answer = await self._ask("list the files at GLM", "GET", params=query)
            except ServiceFailedError as error:
                raise NoListingError(str(error)) from error
            page = _listed(answer, self.label)
            files.extend(page)
            if not page or answer.document().get("has_more") is not True:
                return Listing(files=tuple(files), taken_at=_server_time(answer))
            query["after"] = str(page[-1]["id"])
        raise NoListingError(f"GLM lists more than {MAX_PAGES * PAGE_SIZE} files")


def _listed(answer: Answer, label: str) -> list[Described]:
    """Strict: an entry that cannot be read might be the one that is looked for."""
    document = answer.document()
    files = document.get("data") if isinstance(document, dict) else None
    if not answer.succeeded or not isinstance(files, list):
        raise NoListingError(f"{label} does not list its files (HTTP {answer.status})")
    if not all(isinstance(file, dict) and isinstance(file.get("id"), str) for file in files):
        raise NoListingError(f"{label} lists its files in an unknown form")
    return files


def _server_time(answer: Answer) -> float:
    moment = parsedate_tz(answer.date)
    return time.time() if moment is None else mktime_tz(moment)


def _plain_text(content: bytes) -> bytes:
    """Kimi answers with the text itself, or with a JSON object that has it under `content`."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return content
    if isinstance(document, dict) and document.get("type") == "file" and isinstance(document.get("content"), str):
        return str(document["content"]).encode()
    return content
