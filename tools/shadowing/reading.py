"""Reads back what a run has made, and says it in a way in which two runs can be compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from shim.http.recording import Exchange
from tools.recovery.provider_files import PARSING_SECONDS, Described, ProviderFiles
from tools.recovery.service_client import NoListingError
from tools.recovery.stored import StorageContents
from tools.settings import Settings
from tools.shadowing.marks import Marked
from tools.shadowing.objects import ObjectKey, succeeded
from tools.shadowing.recorded_storage import LOCAL
from tools.shadowing.replay import upload_target
from tools.storage.placement import candidate_paths, decode_key
from tools.storage.port import ProviderName, UploadRow
from tools.transport.rest import Digest

_FILE_FIELDS = ("bytes", "purpose", "status", "status_details")
_ROW_FIELDS = (
    "provider",
    "sha256",
    "filename",
    "file_size_bytes",
    "upload_status",
    "upload_method",
    "error_message",
    "last_used",
)
_OWN_FILE = "(its file at the provider)"
_OWN_OBJECT = "(its stored object)"
_MOVES = frozenset({"status", "status_details"})
"""What changes of a file by itself: the provider reads it after the upload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Things:
    """What a run has made, as the services show it.

    Attributes:
        files: by their ids; None if the provider does not say.
        objects: by their paths.
        rows: of these files.
    """

    files: Mapping[str, Described] | None
    objects: Mapping[str, Described]
    rows: Sequence[Described]

    def changed(self, later: Things) -> list[str]:
        """The names of what is not there any more as it was; files only if the provider says both times."""
        with_files = self.files is not None and later.files is not None
        before, after = _lasting(self, with_files=with_files), _lasting(later, with_files=with_files)
        return sorted(name for name, was in before.items() if after.get(name) != was)

    def own_ids(self, ids: Collection[str]) -> dict[str, str]:
        """The ids of what is really there, and how they are written in a comparison."""
        files = {file_id: _OWN_FILE for file_id in ids if self.files is None or file_id in self.files}
        return files | {str(each["id"]): _OWN_OBJECT for each in self.objects.values()}


@dataclass(slots=True)
class Reading:
    """The facts of one side, and what of it could not be had."""

    facts: dict[str, object] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


class Reader:
    """Reads back what is at one provider and in one storage.

    Args:
        files: the provider.
        stored: the storage.
        marked: what is uploaded.
    """

    def __init__(self, files: ProviderFiles, stored: StorageContents, marked: Marked) -> None:
        self._files = files
        self._stored = stored
        self._marked = marked

    async def of_primary(self, ids: Collection[str], paths: Collection[str]) -> Things:
        """What the primary has made, by the ids and paths of its exchanges.

        Raises:
            ServiceFailedError: a service does not say.
        """
        objects: dict[str, Described] = {}
        for wanted in paths:
            for path, sha256 in self._possible(wanted):
                described = await self._stored.look(path)
                if described is not None and sha256 in (None, described["sha256"]):
                    objects[path] = described
        return await self._things(ids, objects)

    async def of_trial(self, ids: Collection[str]) -> Things:
        """What the trial has made: by the ids of its exchanges, and whatever is marked.

        Raises:
            ServiceFailedError: a service does not say.
        """
        objects: dict[str, Described] = {}
        for each in await self._stored.objects(self._files.folder, self._marked.mark):
            path = str(each["path"])
            described = await self._stored.look(path)
            if described is not None:
                objects[path] = described
        return await self._things(ids, objects)

    async def _things(self, ids: Collection[str], objects: Mapping[str, Described]) -> Things:
        try:
            files = await self._files.look(ids, wait=PARSING_SECONDS)
        except NoListingError:
            files = None
        return Things(files=files, objects=objects, rows=await self._stored.rows(self._files.name, ids=ids))

    async def facts(self, things: Things, ids: Collection[str], asked: Mapping[str, UploadRow]) -> Reading:
        """What of the things has to be the same on both sides.

        Args:
            things: as they were found.
            ids: of the files that were made; one of them that is not there is a difference.
            asked: the rows that the trial wrote, which the table has with another status.

        Raises:
            ServiceFailedError: a service does not say.
        """
        reading = Reading()
        own = things.own_ids(ids)
        reading.facts = {
            "files": _sorted([await self._file(file_id, things, reading) for file_id in ids]),
            "objects": _sorted([await self._object(path, told) for path, told in things.objects.items()]),
            "rows": _sorted([self._row(row, own, asked) for row in things.rows]),
        }
        return reading

    async def _file(self, file_id: str, things: Things, reading: Reading) -> object:
        if things.files is None:
            reading.missing.append(f"the files at {self._files.label}, which does not list them")
            return "(made)"
        described = things.files.get(file_id)
        if described is None:
            return "(not there)"
        text = await self._files.text_of(file_id, self._marked.mark)  # only a shadow's text has the mark in it
        if isinstance(text, str):
            reading.missing.append(text)
        return {
            "name": self._marked.plain(str(described.get("filename"))),
            **{name: described.get(name) for name in _FILE_FIELDS},
            "text": asdict(text) if isinstance(text, Digest) else "(not compared)",
        }

    async def _object(self, path: str, described: Described) -> object:
        content = await self._stored.digest_of(path)
        return {
            "path": self._path_without_suffix(path),
            "content": None if content is None else asdict(content),
            **{name: self._marked.plainly(value) for name, value in self._stored.compared(described).items()},
        }

    def _row(self, row: Described, own: Mapping[str, str], asked: Mapping[str, UploadRow]) -> object:
        fact = {name: self._marked.plainly(row.get(name)) for name in _ROW_FIELDS}
        wish = asked.get(str(row.get("provider_file_id")))
        if wish is not None:
            fact["upload_status"] = wish.upload_status
        for name in ("provider_file_id", "supabase_file_id"):
            fact[name] = own.get(str(row.get(name)), row.get(name))
        return fact

    def _possible(self, path: str) -> list[tuple[str, str | None]]:
        """Where the storage may have put what was to be stored at `path`, and the hash of what must be there."""
        hashes = self._marked.contents.get(path.rpartition("/")[2])
        if not hashes:
            return [(path, None)]
        return [(each, sha256) for sha256 in sorted(hashes) for each in candidate_paths(path, sha256)]

    def _path_without_suffix(self, path: str) -> str:
        """The path that was asked for, where the storage has put part of the hash into the name."""
        plain = self._marked.plain(path)
        for name, hashes in self._marked.contents.items():
            wanted = [f"{self._files.folder}/{name}", f"{self._files.folder}/{self._marked.mark}{name}"]
            if any(path in candidate_paths(each, sha256) for each in wanted for sha256 in hashes):
                return f"{self._files.folder}/{name}"
        return plain


def _sorted(facts: list[object]) -> list[object]:
    """Files that are uploaded at once are made in any order."""
    return sorted(facts, key=repr)


def _lasting(things: Things, *, with_files: bool) -> dict[str, object]:
    files = things.files or {} if with_files else {}
    return {
        **{
            f"the file {file_id}": {name: value for name, value in described.items() if name not in _MOVES}
            for file_id, described in files.items()
        },
        **{f"the object {path}": dict(described) for path, described in things.objects.items()},
        **{f"the row of {row.get('provider_file_id')}": dict(row) for row in things.rows},
    }


# What the exchanges of a run tell about what it has made.

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
        target = upload_target(self._settings, exchange.method, exchange.url)
        if target is None or (target.service, target.path) != (self._provider, "/files"):
            return
        try:
            document = json.loads(exchange.body)
        except (ValueError, RecursionError):
            return  # not all of it is here
        if not isinstance(document, dict) or not succeeded(exchange):
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
            target = upload_target(self._settings, exchange.method, exchange.url)
            makes = target is not None and (target.method, target.path) == ("POST", "/files")
            if makes and succeeded(exchange) and not any(file_id.encode() in exchange.body for file_id in self.ids):
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
        target = upload_target(settings, exchange.method, exchange.url)
        place = None if target is None else ObjectKey.stored_at(target)
        if place is not None:
            paths[decode_key(place.path)] = None
    return list(paths)
