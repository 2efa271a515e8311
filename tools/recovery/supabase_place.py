"""Reads back and cleans up Supabase: objects as Storage shows them, rows as PostgREST shows them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from shim.http.redaction import HiddenText
from tools.recovery.rest_client import Answer, Asker, Digest, ServiceFailedError
from tools.storage.placement import decode_key, encode_key
from tools.storage.port import TABLE, ProviderName

MAX_LISTED = 1000
"""Objects of one mark that a listing shows; objects or rows of one page."""

MAX_PAGES = 100
"""Pages that are looked at where all objects or rows are asked for."""

_SCHEME = "supabase:"


class SupabasePlace:
    """Implements `Place`."""

    def __init__(self, *, url: str, key: str, bucket: str, asker: Asker) -> None:
        self.address = f"{_SCHEME}{url} {bucket}"
        self._storage = f"{url}/storage/v1"
        self._table = f"{url}/rest/v1/{TABLE}"
        self._bucket = bucket
        self._headers = {"apikey": HiddenText(key), "Authorization": HiddenText(f"Bearer {key}")}
        self._asker = asker

    @staticmethod
    def bucket_at(address: str, url: str) -> str | None:
        """The bucket of a place that was written down, if it is at this URL."""
        beginning = f"{_SCHEME}{url} "
        return address.removeprefix(beginning) if address.startswith(beginning) else None

    async def look(self, path: str) -> Mapping[str, Any] | None:
        """See `Place.look`."""
        action = f"look at the stored {path!r}"
        answer = await self._ask(action, "GET", f"{self._storage}/object/info/{self._key(path)}")
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        described = _succeeded(action, answer)
        if not isinstance(described, dict) or not isinstance(described.get("id"), str):
            raise ServiceFailedError(action, "the answer does not describe an object")
        metadata = described.get("metadata")
        return {**described, "sha256": metadata.get("sha256") if isinstance(metadata, dict) else None}

    async def digest_of(self, path: str) -> Digest | None:
        """See `Place.digest_of`."""
        url = f"{self._storage}/object/authenticated/{self._key(path)}"
        return await self._asker.digest_of(f"read the stored {path!r}", url, headers=self._headers)

    def compared(self, described: Mapping[str, Any]) -> dict[str, object]:
        """See `Place.compared`."""
        return {name: described.get(name) for name in ("size", "content_type", "cache_control", "metadata")}

    async def marked(self, folder: str, mark: str) -> list[str]:
        """See `Place.marked`."""
        action = f"list the objects in {folder!r}"
        query = {"prefix": folder, "search": mark, "limit": MAX_LISTED, "offset": 0}
        found = await self._listed(action, query)
        if len(found) >= MAX_LISTED:
            raise ServiceFailedError(action, "the answer does not list all objects")
        names = [str(each["name"]) for each in found if each.get("id") is not None]
        return [f"{folder}/{decode_key(name)}" for name in names if name.startswith(mark)]

    async def remove(self, paths: Sequence[str]) -> None:
        """See `Place.remove`."""
        if paths:
            action = f"remove {len(paths)} objects"
            keys = {"prefixes": [encode_key(path) for path in paths]}
            url = f"{self._storage}/object/{quote(self._bucket)}"
            _succeeded(action, await self._ask(action, "DELETE", url, document=keys))

    async def rows(self, provider: ProviderName, ids: Collection[str]) -> list[Mapping[str, Any]]:
        """See `Place.rows`."""
        if not ids:
            return []
        return await self._select({"provider": f"eq.{provider}", "provider_file_id": _one_of(ids), "select": "*"})

    async def marked_rows(self, provider: ProviderName, mark: str) -> list[str]:
        """See `Place.marked_rows`."""
        query = {"provider": f"eq.{provider}", "filename": f"like.{mark}*", "select": "provider_file_id"}
        return [str(row["provider_file_id"]) for row in await self._select(query)]

    async def remove_rows(self, provider: ProviderName, ids: Collection[str]) -> None:
        """See `Place.remove_rows`."""
        if ids:
            action = f"remove {len(ids)} rows"
            query = {"provider": f"eq.{provider}", "provider_file_id": _one_of(ids)}
            _succeeded(action, await self._ask(action, "DELETE", self._table, params=query))

    async def rows_about(self, object_id: str) -> list[Mapping[str, Any]]:
        """See `Place.rows_about`."""
        return await self._select({"supabase_file_id": f"eq.{object_id}", "select": "*"})

    async def all_rows(self) -> list[Mapping[str, Any]]:
        """See `Place.all_rows`."""
        rows: list[Mapping[str, Any]] = []
        for number in range(MAX_PAGES):
            page = {"limit": str(MAX_LISTED), "offset": str(number * MAX_LISTED)}
            found = await self._select({"select": "*", "order": "id", **page})
            rows += found
            if len(found) < MAX_LISTED:
                return rows
        raise ServiceFailedError(f"look at the rows of {TABLE}", f"there are {MAX_PAGES * MAX_LISTED} or more")

    async def objects(self, folder: str) -> list[Mapping[str, Any]]:
        """See `Place.objects`."""
        action = f"list the objects in {folder!r}"
        objects: list[Mapping[str, Any]] = []
        for number in range(MAX_PAGES):
            query = {"prefix": folder, "limit": MAX_LISTED, "offset": number * MAX_LISTED}
            found = await self._listed(action, query)
            objects += [
                {"path": f"{folder}/{decode_key(str(each['name']))}", "created_at": _seconds(each.get("created_at"))}
                for each in found
                if each.get("id") is not None and str(each["name"]).isascii()  # ours are, see `encode_key`
            ]
            if len(found) < MAX_LISTED:
                return objects
        raise ServiceFailedError(action, f"there are {MAX_PAGES * MAX_LISTED} or more")

    async def _listed(self, action: str, query: Mapping[str, object]) -> list[Mapping[str, Any]]:
        url = f"{self._storage}/object/list/{quote(self._bucket)}"
        answer = await self._ask(action, "POST", url, document=query)
        if answer.status == HTTPStatus.NOT_FOUND:
            return []  # no bucket, no objects
        found = _succeeded(action, answer)
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise ServiceFailedError(action, "the answer is no list of objects")
        return found

    async def _select(self, query: Mapping[str, str]) -> list[Mapping[str, Any]]:
        action = f"look at the rows of {TABLE}"
        found = _succeeded(action, await self._ask(action, "GET", self._table, params=query))
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise ServiceFailedError(action, "the answer is no list of rows")
        return found

    async def _ask(
        self, action: str, method: str, url: str, *, params: Mapping[str, str] | None = None, document: object = None
    ) -> Answer:
        return await self._asker.ask(action, method, url, headers=self._headers, params=params, document=document)

    def _key(self, path: str) -> str:
        return f"{quote(self._bucket)}/{quote(encode_key(path), safe='/')}"


def _one_of(ids: Collection[str]) -> str:
    """PostgREST's filter. https://docs.postgrest.org/en/stable/references/api/url_grammar.html#reserved-characters."""
    escaped = (identity.replace("\\", "\\\\").replace('"', '\\"') for identity in ids)
    return "in.({})".format(",".join(f'"{identity}"' for identity in escaped))


def _seconds(moment: object) -> float:
    """Seconds since the epoch, for a time as Postgres' JSON shows it.

    What cannot be read counts as this moment: nothing is removed because of its age then.
    """
    try:
        return datetime.fromisoformat(str(moment)).timestamp()
    except ValueError:
        return time.time()


def _succeeded(action: str, answer: Answer) -> Any:
    if not answer.succeeded:
        raise ServiceFailedError(action, f"HTTP {answer.status}")
    return answer.document()
