"""The files that one provider's account holds, as far as the provider shows them.

What each provider shows (one file, the listing, the text that it read) is in `tools.providers.spec.FilesApi`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from shim.http.redaction import RedactedText
from tools.providers import spec
from tools.recovery.service_client import NoListingError, ServiceClient, ServiceFailedError
from tools.settings import Settings
from tools.storage.port import ProviderName
from tools.transport.rest import Digest, RestAnswer

MAX_PAGES = 20
"""Pages of a listing that are looked at."""

PARSING_SECONDS = 5.0
"""How long a provider may take to read a file before its text is left out of the comparison."""

PAGE_SIZE = 100
"""Files of one page."""

_POLL_SECONDS = 0.25

_SHOWN = {"created_at": int | float, "bytes": int, "filename": str, "purpose": str}

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

    @property
    def is_readable(self) -> bool:
        """Whether every file shows what it is recognised by: one that does not might be the one that is looked for."""
        return all(isinstance(file.get(name), kind) for file in self.files for name, kind in _SHOWN.items())


class ProviderFiles:
    """The files of one account.

    Attributes:
        name: the provider, as in rows and settings.
        label: the provider, as in messages.
        folder: where the storage keeps the copies of its files.
        address: the base address of its API.

    Raises:
        UnknownProviderError, MissingKeyError: there is no such provider, or no key is configured for it.
    """

    def __init__(self, provider: ProviderName, settings: Settings, client: ServiceClient) -> None:
        registered = spec.provider(provider)
        self.name = registered.name
        self.label = registered.label
        self.folder = registered.folder
        self.address = registered.address(settings)
        self._api = registered.files
        self._headers = {"Authorization": RedactedText(f"Bearer {registered.key(settings)}")}
        self._client = client

    async def look(self, ids: Collection[str], *, wait: float = 0.0) -> dict[str, Described]:
        """Those of the files that are there, described; a file that is still being read is waited for so many seconds.

        Raises:
            NoListingError: the provider does not say.
            ServiceFailedError: the provider cannot be asked.
        """
        if not ids:
            return {}
        if not self._api.describes_one:
            return {str(file["id"]): file for file in (await self.listed()).files if file["id"] in ids}
        found = {file_id: await self._look_at(file_id, wait) for file_id in ids}
        return {file_id: described for file_id, described in found.items() if described is not None}

    async def listed(self) -> Listing:
        """All files; raises as `look`."""
        files: list[Described] = []
        query = {"limit": str(PAGE_SIZE)} if self._api.pages else {}
        for _ in range(MAX_PAGES):
            try:
                answer = await self._ask(f"list the files at {self.label}", "GET", params=query)
            except ServiceFailedError as error:
                if self._api.describes_one:
                    raise
                raise NoListingError(str(error)) from error
            page = _listed(answer, self.label)
            files.extend(page)
            if not page or answer.document().get("has_more") is not True:
                return Listing(files=tuple(files), taken_at=answer.server_time())
            query["after"] = str(page[-1]["id"])
        raise NoListingError(f"{self.label} lists more than {MAX_PAGES * PAGE_SIZE} files")

    async def marked(self, mark: str) -> list[str]:
        """The ids of the files whose names contain the mark; raises as `look`."""
        return [str(file["id"]) for file in (await self.listed()).files if mark in str(file.get("filename"))]

    async def text_of(self, file_id: str, mark: str) -> Digest | str:
        """What the provider read out of the file (where it names the file, without the mark), or why that is not known.

        Raises:
            ServiceFailedError: the provider cannot be asked.
        """
        if not self._api.returns_text:
            return f"the content at {self.label}, which gives none back"
        action = f"read the text of {file_id} at {self.label}"
        answer = await self._ask(action, "GET", f"/{file_id}/content")
        if answer.status == HTTPStatus.NOT_FOUND:
            return f"its text, which {self.label} does not have (yet)"
        if not answer.succeeded:
            raise ServiceFailedError(action, f"HTTP {answer.status}")
        return Digest.of(_plain_text(answer.body).replace(mark.encode(), b""))

    async def remove(self, file_id: str) -> None:
        """Delete a file; one that is not there is as good.

        Raises:
            ServiceFailedError: the provider did not delete it.
        """
        action = f"delete {file_id} at {self.label}"
        answer = await self._ask(action, "DELETE", f"/{file_id}")
        if answer.status == HTTPStatus.NOT_FOUND:
            return
        document = answer.document()
        if not answer.succeeded or not isinstance(document, dict) or document.get("deleted") is not True:
            raise ServiceFailedError(action, f"it was not deleted (HTTP {answer.status})")

    async def _look_at(self, file_id: str, wait: float) -> Described | None:
        action = f"look at {file_id} at {self.label}"
        waited = 0.0
        while True:
            answer = await self._ask(action, "GET", f"/{file_id}")
            if answer.status == HTTPStatus.NOT_FOUND:
                return None
            described = answer.document()
            if not answer.succeeded or not isinstance(described, dict):
                raise ServiceFailedError(action, f"HTTP {answer.status}")
            if described.get("status") not in self._api.unfinished or waited >= wait:
                return described
            await self._client.sleep(_POLL_SECONDS)
            waited += _POLL_SECONDS

    async def _ask(
        self, action: str, method: str, path: str = "", params: Mapping[str, str] | None = None
    ) -> RestAnswer:
        return await self._client.ask(
            action, method, f"{self.address}/files{path}", headers=self._headers, params=params
        )


def _listed(answer: RestAnswer, label: str) -> list[Described]:
    """Strict: an entry that cannot be read might be the one that is looked for."""
    document = answer.document()
    files = document.get("data") if isinstance(document, dict) else None
    if not answer.succeeded or not isinstance(files, list):
        raise NoListingError(f"{label} does not list its files (HTTP {answer.status})")
    if not all(isinstance(file, dict) and isinstance(file.get("id"), str) for file in files):
        raise NoListingError(f"{label} lists its files in an unknown form")
    return files


def _plain_text(content: bytes) -> bytes:
    """A provider answers with the text itself, or with a JSON object that has it under `content`."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return content
    if isinstance(document, dict) and document.get("type") == "file" and isinstance(document.get("content"), str):
        return str(document["content"]).encode()
    return content
