"""What the exchanges of a run tell about what it has made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from http import HTTPStatus

from shim.http.recording import Exchange
from tools.settings import Settings
from tools.shadowing.objects import Place
from tools.shadowing.requests import target_of
from tools.shadowing.storage import LOCAL
from tools.storage.placement import decode_key
from tools.storage.port import ProviderName

_STORED_LOCALLY = "upload_file"


class FileTraces:
    """The provider's ids of the files that a run has made, in the order in which it was told them.

    Args:
        settings: where the provider is.
        provider: to whom the run uploads.
        mark: what the names of the run's files begin with; in a listing, these are its own.
        on_new: called with each id as soon as it is known.
    """

    def __init__(
        self,
        settings: Settings,
        provider: ProviderName,
        *,
        mark: str | None = None,
        on_new: Callable[[str], None] = lambda _id: None,
    ) -> None:
        self.ids: list[str] = []
        self._settings = settings
        self._provider = provider
        self._mark = mark
        self._on_new = on_new

    def hear(self, exchange: Exchange) -> None:
        """Learn from an answer, as far as it has arrived."""
        target = target_of(self._settings, exchange.method, exchange.url)
        if target is None or (target.service, target.path) != (self._provider, "/files"):
            return
        try:
            document = json.loads(exchange.body)
        except (ValueError, RecursionError):
            return  # not all of it is here
        if not isinstance(document, dict) or not _succeeded(exchange):
            return
        for made in [document] if target.method == "POST" else self._own(document.get("data")):
            file_id = made.get("id")
            if isinstance(file_id, str) and file_id and file_id not in self.ids:
                self.ids.append(file_id)
                self._on_new(file_id)

    def has_lost_one(self, exchanges: Iterable[Exchange]) -> bool:
        """Whether a request may have made something of which the answer does not tell."""
        for exchange in exchanges:
            if exchange.status is None:
                return True
            target = target_of(self._settings, exchange.method, exchange.url)
            makes = target is not None and (target.method, target.path) == ("POST", "/files")
            if makes and _succeeded(exchange) and not any(file_id.encode() in exchange.body for file_id in self.ids):
                return True
        return False

    def _own(self, listed: object) -> Iterable[dict[str, object]]:
        """The files of a listing that bear the mark: so a file is found whose answer was lost."""
        if self._mark is None or not isinstance(listed, list):
            return []
        return [file for file in listed if isinstance(file, dict) and self._mark in str(file.get("filename"))]


def stored_paths(settings: Settings, exchanges: Iterable[Exchange]) -> list[str]:
    """The paths under which a run has stored objects, or wanted to; the storage may have chosen others for them."""
    paths: dict[str, None] = {}
    for exchange in exchanges:
        if exchange.url.startswith(f"{LOCAL}:"):
            if exchange.method == _STORED_LOCALLY:
                paths[exchange.url.removeprefix(f"{LOCAL}:")] = None
            continue
        target = target_of(settings, exchange.method, exchange.url)
        place = None if target is None else Place.stored_at(target)
        if place is not None:
            paths[decode_key(place.path)] = None
    return list(paths)


def _succeeded(exchange: Exchange) -> bool:
    return exchange.status is not None and HTTPStatus.OK <= exchange.status < HTTPStatus.MULTIPLE_CHOICES
