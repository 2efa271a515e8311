"""The stand-ins of the providers: files and the texts read out of them, as the registry describes each."""

from __future__ import annotations

import asyncio
import codecs
import json
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from aiohttp import web

from tools.providers.spec import Provider
from tools.sandbox.chat import Chat, InvalidChatError, completion, streamed
from tools.sandbox.faults import AccountLimits, DrawnFaults, Fault, FaultKind
from tools.sandbox.intake import File, Form, SandboxExchange, read_form, read_object
from tools.sandbox.serving import Endpoint, Refusal, Service, World, json_response

PARSER_PURPOSE = "parser"
"""Under it a file is kept that was given to a parser, out of sight of the listing."""

_TOOL_TYPES = frozenset({"lite", "expert", "prime"})
_DEFAULT_PAGE, _LARGEST_PAGE = 20, 100
_UTF_8_JSON = {"Content-Type": "application/json; charset=utf-8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFile:
    """One uploaded file. Times are seconds since the epoch; `number` grows with each upload."""

    number: int
    id: str
    filename: str
    purpose: str
    bytes: int
    sha256: str
    content_type: str
    created_at: float
    parsed_at: float
    parsing_fails: bool
    body: str

    @property
    def file_type(self) -> str:
        """Its media type without parameters."""
        return self.content_type.partition(";")[0].strip()


class AccountFiles:
    """The files that one provider's account holds."""

    def __init__(self, provider: Provider, world: World) -> None:
        self._provider = provider
        self._world = world

    def add(self, file: File, *, purpose: str, faults: DrawnFaults) -> ProviderFile:
        """Keep a file whose body was kept."""
        if file.body is None:
            raise ValueError(f"{file.filename} was too long to be kept")
        now = self._world.clock()
        identity = self._provider.stand_in.id_prefix + secrets.token_hex(12)
        self._world.store.insert(
            "provider_files",
            {
                "service": self._provider.name,
                "id": identity,
                "filename": file.filename,
                "purpose": purpose,
                "bytes": file.bytes,
                "sha256": file.sha256,
                "content_type": file.content_type,
                "created_at": now,
                "parsed_at": now + faults.seconds(FaultKind.SLOW_PARSING),
                "parsing_fails": FaultKind.PARSING_FAILS in faults,
                "body": file.body.name,
            },
        )
        file.body.owned = True
        return self._select("id = ?", identity)[0]

    def find(self, identity: str) -> ProviderFile | None:
        """The file with this id."""
        found = self._select("id = ?", identity)
        return found[0] if found else None

    def all(self) -> list[ProviderFile]:
        """All files, oldest first."""
        return self._select("TRUE")

    def to_json(self) -> list[dict[str, Any]]:
        """All files as plain data, with what no client is shown."""
        return [asdict(file) for file in self.all()]

    def remove(self, file: ProviderFile) -> None:
        """Delete a file and its body."""
        self._world.store.rows("DELETE FROM provider_files WHERE id = ?", (file.id,))
        self._world.store.remove_body(file.body)

    def text(self, file: ProviderFile) -> AsyncIterator[str]:
        """What the provider reads out of a file."""
        return text_of(file, self._world.store.body_path(file.body))

    def _select(self, condition: str, *parameters: str) -> list[ProviderFile]:
        columns = ", ".join(ProviderFile.__slots__)
        sql = f"SELECT {columns} FROM provider_files WHERE service = ? AND {condition} ORDER BY number"  # noqa: S608 - constants
        rows = self._world.store.rows(sql, (self._provider.name, *parameters))
        return [ProviderFile(**{**dict(row), "parsing_fails": bool(row["parsing_fails"])}) for row in rows]


class FilesService(Service):
    """The files API of one provider, with its chat. Errors are `{"error": {"type" or "code": ..., "message": ...}}`."""

    def __init__(self, provider: Provider, world: World) -> None:
        super().__init__(world)
        self.name = provider.name
        self.prefix = f"/{provider.name}{provider.stand_in.path}"
        self._api = provider.files
        self._stand_in = provider.stand_in
        self._files = AccountFiles(provider, world)

    def endpoints(self) -> Sequence[Endpoint]:
        """See the base class. A provider without texts of its files has a parser instead, which is given files."""
        found = [
            Endpoint("files.create", "POST", "/files", self._create),
            Endpoint("files.list", "GET", "/files", self._list),
            Endpoint("files.delete", "DELETE", "/files/{id}", self._delete),
            Endpoint("chat", "POST", "/chat/completions", self._chat),
        ]
        if self._api.describes_one:
            found.append(Endpoint("files.retrieve", "GET", "/files/{id}", self._retrieve))
        if self._api.returns_text:
            found.append(Endpoint("files.content", "GET", "/files/{id}/content", self._content))
        else:
            found.append(Endpoint("parser.create", "POST", "/files/parser/create", self._parse))
            found.append(Endpoint("parser.result", "GET", "/files/parser/result/{id}/text", self._parsed))
        return found

    async def _create(self, exchange: SandboxExchange) -> web.Response:
        form = await read_form(exchange, max_bytes=self._limits.max_bytes)
        purpose = form.fields.get("purpose", "")
        if purpose not in self._stand_in.purposes:
            raise self._refused("purpose", value=purpose)
        file = self._accepted(form)
        held = [each.purpose for each in self._files.all()]
        if (held.count(purpose) if self._stand_in.counted_by_purpose else len(held)) >= self._limits.max_files:
            raise self._refused("too_many_files", limit=self._limits.max_files)
        return json_response(
            self._described(self._files.add(file, purpose=purpose, faults=exchange.faults), exchange.faults)
        )

    def _accepted(self, form: Form) -> File:
        file = form.file
        if file is None:
            raise self._refused("file_missing")
        if self._stand_in.error("file_suffix") and not PurePosixPath(file.filename).suffix:
            raise self._refused("file_suffix")
        if self._stand_in.error("file_empty") and file.bytes == 0:
            raise self._refused("file_empty")
        if file.body is None:
            raise self._refused("file_too_large")
        return file

    async def _list(self, exchange: SandboxExchange) -> web.Response:
        files = [file for file in self._files.all() if file.purpose != PARSER_PURPOSE]
        if not self._api.pages:
            return json_response({"object": "list", "data": [self._described(file, exchange.faults) for file in files]})
        query = exchange.request.query
        size, after = query.get("limit", str(_DEFAULT_PAGE)), query.get("after")
        if query.get("order", "created_at") != "created_at":
            raise self._refused("page", value="order")
        if not size.isascii() or not size.isdigit() or not 1 <= int(size) <= _LARGEST_PAGE:
            raise self._refused("page", value="limit")
        last_seen = None if after is None else self._files.find(after)
        if after is not None and last_seen is None:
            raise self._refused("page", value="after")
        found = [
            file
            for file in files
            if query.get("purpose") in (None, file.purpose) and (last_seen is None or file.number > last_seen.number)
        ]
        page = [self._described(file, exchange.faults) for file in found[: int(size)]]
        return json_response({"object": "list", "data": page, "has_more": len(found) > len(page)})

    async def _retrieve(self, exchange: SandboxExchange) -> web.Response:
        return json_response(self._described(self._find(exchange), exchange.faults))

    async def _delete(self, exchange: SandboxExchange) -> web.Response:
        file = self._find(exchange)
        self._files.remove(file)
        return json_response({"id": file.id, "object": "file", "deleted": True})

    async def _content(self, exchange: SandboxExchange) -> web.Response:
        file = self._find(exchange)
        if self._status(file, exchange.faults) != "ok":
            raise self._refused("text_unavailable", id=file.id)
        text = self._files.text(file)
        if FaultKind.CONTENT_AS_TEXT in exchange.faults:
            return web.Response(body=as_bytes(text), headers={"Content-Type": "text/plain; charset=utf-8"})
        others = {"file_type": file.file_type, "filename": file.filename, "title": "", "type": "file"}
        return web.Response(body=as_json(text, **others), headers=_UTF_8_JSON)

    async def _parse(self, exchange: SandboxExchange) -> web.Response:
        form = await read_form(exchange, max_bytes=self._limits.max_bytes)
        if form.fields.get("tool_type") not in _TOOL_TYPES:
            raise self._refused("parser_field", value="tool_type")
        file = self._accepted(form)
        if not form.fields.get("file_type"):
            raise self._refused("parser_type")
        task = self._files.add(file, purpose=PARSER_PURPOSE, faults=exchange.faults)
        return json_response({"task_id": task.id, "message": "success", "success": True})

    async def _parsed(self, exchange: SandboxExchange) -> web.Response:
        task = self._find(exchange, parser=True)
        told = {"message": "", "task_id": task.id, "parsing_result_url": None}
        match self._status(task, exchange.faults):
            case "created":
                return json_response({"status": "processing", "content": None, **told})
            case "error":
                return json_response({"status": "failed", "content": None, **told, "message": "told to fail"})
            case _:
                text = self._files.text(task)
                return web.Response(body=as_json(text, status="succeeded", **told), headers=_UTF_8_JSON)

    async def _chat(self, exchange: SandboxExchange) -> web.Response:
        try:
            chat = Chat.from_json(await read_object(exchange))
        except InvalidChatError as invalid:
            raise self._refused("chat", value=str(invalid)) from None
        created = int(self.world.clock())
        return streamed(chat, created=created) if chat.stream else json_response(completion(chat, created=created))

    def _find(self, exchange: SandboxExchange, *, parser: bool = False) -> ProviderFile:
        identity = exchange.request.match_info["id"]
        file = self._files.find(identity)
        if file is None or (file.purpose == PARSER_PURPOSE) is not parser:
            raise self._refused("file_unknown", id=identity)
        return file

    def _status(self, file: ProviderFile, faults: DrawnFaults) -> str:
        if FaultKind.UNPARSED in faults or self.world.clock() < file.parsed_at:
            return "created"
        return "error" if file.parsing_fails else "ok"

    def _described(self, file: ProviderFile, faults: DrawnFaults) -> dict[str, Any]:
        described = {
            "id": file.id,
            "object": "file",
            "bytes": file.bytes,
            "created_at": int(file.created_at),
            "filename": file.filename,
            "purpose": file.purpose,
        }
        if not self._api.describes_one:
            return described
        status = self._status(file, faults)
        details = "Failed to extract file: the sandbox was told to fail" if status == "error" else ""
        return {**described, "status": status, "status_details": details}

    @property
    def _limits(self) -> AccountLimits:
        return self.world.limits.accounts[self.name]

    def _refused(self, reason: str, **values: object) -> Refusal:
        told = self._stand_in.error(reason)
        if told is None:
            raise LookupError(reason)
        status, code, message = told
        return Refusal(self._error(status, code, message.format(**values)))

    def _error(self, status: int, code: str, message: str) -> web.Response:
        return json_response({"error": {self._stand_in.code_field: code, "message": message}}, status)

    def refuse(self, status: int, message: str) -> web.Response:
        """See the base class."""
        if status in {404, 405} and self._stand_in.error("no_endpoint"):
            return self._refused("no_endpoint").response
        codes = self._stand_in.codes
        return self._error(status, codes.get(status, codes[0]), message)

    def unauthorized(self, *, key_given: bool) -> web.Response:
        """See the base class."""
        return self._refused("wrong_key" if key_given else "no_key").response

    def faulty(self, fault: Fault) -> web.Response:
        """See the base class."""
        reason = fault.kind.value if self._stand_in.error(fault.kind.value) else FaultKind.SERVER_ERROR.value
        response = self._refused(reason, value=1 if fault.retry_after is None else fault.retry_after).response
        if reason == FaultKind.SERVER_ERROR:
            response.set_status(fault.status)
        if fault.retry_after is not None:
            response.headers.update(dict.fromkeys(self._stand_in.retry_headers, str(fault.retry_after)))
        return response


# What a provider would read out of a file: its text, or for other kinds of files a plain description.

_PIECE_BYTES = 256 * 1024


async def text_of(file: ProviderFile, path: Path) -> AsyncIterator[str]:
    """What a provider would read out of a file: UTF-8 as it is, anything else described, in pieces."""
    if not await asyncio.to_thread(_is_text, path):
        yield (
            f"{file.filename} is a file of type {file.file_type} with {file.bytes} bytes and the SHA-256 digest "
            f"{file.sha256}. The sandbox reads plain text only; the real service would return the words in it."
        )
        return
    for piece in _decoded(path):
        yield piece


async def as_bytes(text: AsyncIterator[str]) -> AsyncIterator[bytes]:
    """A text in UTF-8."""
    async for piece in text:
        yield piece.encode()


async def as_json(text: AsyncIterator[str], **others: Any) -> AsyncIterator[bytes]:
    """A JSON object with the text as `content` and others beside it, never whole in memory."""
    yield b'{"content":"'
    async for piece in text:
        yield json.dumps(piece, ensure_ascii=False)[1:-1].encode()
    rest = json.dumps(others, ensure_ascii=False, separators=(",", ":"))[1:]
    yield f'",{rest}'.encode()


def _is_text(path: Path) -> bool:
    try:
        return not any("\0" in piece for piece in _decoded(path))
    except UnicodeDecodeError:
        return False


def _decoded(path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)
