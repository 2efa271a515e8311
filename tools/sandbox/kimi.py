"""Stand-in for Moonshot's Kimi: files, their text, and chat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from aiohttp import web

from tools.sandbox.faults import Fault, FaultKind, Plan, ServiceName
from tools.sandbox.intake import Exchange, File, Form, read_form, read_object
from tools.sandbox.providers import Chat, InvalidChatError, ProviderFile, ProviderFiles, completion, streamed
from tools.sandbox.serving import Endpoint, Refusal, Service, World, json_response
from tools.sandbox.store import as_bytes, as_json

PURPOSES = frozenset({"file-extract", "image", "video", "batch"})
_INVALID = "invalid_request_error"


class Kimi(Service):
    """`https://api.moonshot.ai/v1`. Every success is 200; errors are `{"error": {"type", "message"}}`."""

    name = ServiceName.KIMI
    prefix = "/kimi/v1"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._files = ProviderFiles(self.name, world)

    def endpoints(self) -> Sequence[Endpoint]:
        """See the base class."""
        return (
            Endpoint("files.create", "POST", "/files", self._create),
            Endpoint("files.list", "GET", "/files", self._list),
            Endpoint("files.content", "GET", "/files/{id}/content", self._content),
            Endpoint("files.retrieve", "GET", "/files/{id}", self._retrieve),
            Endpoint("files.delete", "DELETE", "/files/{id}", self._delete),
            Endpoint("chat", "POST", "/chat/completions", self._chat),
        )

    async def _create(self, exchange: Exchange) -> web.Response:
        form = await read_form(exchange, max_bytes=self.world.limits.kimi_max_bytes)
        refusal = self._refusal_of(form)
        if refusal or form.file is None:
            return _error(400, _INVALID, refusal or "file is required")
        file = self._files.add(form.file, purpose=form.fields["purpose"], plan=exchange.plan)
        return json_response(self._described(file, exchange.plan))

    def _refusal_of(self, form: Form) -> str | None:
        if form.fields.get("purpose") not in PURPOSES:
            return "Invalid purpose: only 'file-extract' accepted"
        return "file is required" if form.file is None else self._refusal_of_file(form.file)

    def _refusal_of_file(self, file: File) -> str | None:
        limits = self.world.limits
        if not PurePosixPath(file.filename).suffix:
            return "file type not supported: the file name has no extension"
        if file.bytes == 0:
            return "File size is zero, please confirm and re-upload the file"
        if file.body is None:
            return "File size is too large, max file size is 100MB, please confirm and re-upload the file"
        if self._files.count() >= limits.kimi_max_files:
            return (
                "The number of files you have uploaded exceeded the max file count "
                f"{limits.kimi_max_files}, please delete previous uploaded files"
            )
        return None

    async def _list(self, exchange: Exchange) -> web.Response:
        return json_response(
            {
                "object": "list",
                "data": [self._described(file, exchange.plan) for file in self._files.all()],
            }
        )

    async def _retrieve(self, exchange: Exchange) -> web.Response:
        return json_response(self._described(self._find(exchange), exchange.plan))

    async def _delete(self, exchange: Exchange) -> web.Response:
        file = self._find(exchange)
        self._files.remove(file)
        return json_response({"id": file.id, "object": "file", "deleted": True})

    async def _content(self, exchange: Exchange) -> web.Response:
        file = self._find(exchange)
        if self._status(file, exchange.plan) != "ok":
            raise Refusal(_error(404, "resource_not_found_error", f"the content of {file.id} is not available"))
        document = self._files.document(file)
        if FaultKind.CONTENT_AS_TEXT in exchange.plan:
            return web.Response(body=as_bytes(document), headers={"Content-Type": "text/plain; charset=utf-8"})
        others = {"file_type": document.file_type, "filename": file.filename, "title": "", "type": "file"}
        return web.Response(
            body=as_json(document, **others), headers={"Content-Type": "application/json; charset=utf-8"}
        )

    async def _chat(self, exchange: Exchange) -> web.Response:
        try:
            chat = Chat.from_json(await read_object(exchange))
        except InvalidChatError as invalid:
            return _error(400, _INVALID, f"Invalid request: {invalid}")
        created = int(self.world.clock())
        return streamed(chat, created=created) if chat.stream else json_response(completion(chat, created=created))

    def _find(self, exchange: Exchange) -> ProviderFile:
        identity = exchange.request.match_info["id"]
        file = self._files.find(identity)
        if file is None:
            raise Refusal(_error(404, "resource_not_found_error", f"file {identity} not found"))
        return file

    def _status(self, file: ProviderFile, plan: Plan) -> str:
        if FaultKind.UNPARSED in plan or self.world.clock() < file.parsed_at:
            return "created"
        return "error" if file.parsing_fails else "ok"

    def _described(self, file: ProviderFile, plan: Plan) -> dict[str, Any]:
        status = self._status(file, plan)
        return {
            "id": file.id,
            "object": "file",
            "bytes": file.bytes,
            "created_at": int(file.created_at),
            "filename": file.filename,
            "purpose": file.purpose,
            "status": status,
            "status_details": "Failed to extract file: the sandbox was told to fail" if status == "error" else "",
        }

    def refuse(self, status: int, message: str) -> web.Response:
        """See the base class."""
        kinds = {404: "resource_not_found_error", 500: "server_error"}
        return _error(status, kinds.get(status, _INVALID), message)

    def unauthorized(self, *, key_given: bool) -> web.Response:
        """See the base class."""
        if key_given:
            return _error(401, "incorrect_api_key_error", "Incorrect API key provided")
        return _error(401, "invalid_authentication_error", "Invalid Authentication")

    def faulty(self, fault: Fault) -> web.Response:
        """See the base class."""
        response = _faulty(fault)
        if fault.retry_after is not None:
            response.headers["X-Retry-After"] = str(fault.retry_after)
        return response


def _faulty(fault: Fault) -> web.Response:
    match fault.kind:
        case FaultKind.RATE_LIMITED:
            wait = 1 if fault.retry_after is None else fault.retry_after
            message = f"Your account request reached max request, please try again after {wait} seconds"
            return _error(429, "rate_limit_reached_error", message)
        case FaultKind.OVERLOADED:
            return _error(429, "engine_overloaded_error", "The engine is currently overloaded, please try again later")
        case FaultKind.QUOTA_EXCEEDED:
            message = "You exceeded your current token quota, please check your account balance"
            return _error(429, "exceeded_current_quota_error", message)
        case _:
            return _error(fault.status, "server_error", "Failed to extract file: internal error")


def _error(status: int, kind: str, message: str) -> web.Response:
    return json_response({"error": {"type": kind, "message": message}}, status)
