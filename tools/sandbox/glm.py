"""Stand-in for Z.ai's GLM: files, the parser that reads them, and chat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from tools.sandbox.faults import Fault, FaultKind, ServiceName
from tools.sandbox.intake import Exchange, Form, read_form, read_object
from tools.sandbox.providers import Chat, InvalidChatError, ProviderFile, ProviderFiles, completion, streamed
from tools.sandbox.serving import Endpoint, Refusal, Service, World, json_response
from tools.sandbox.store import as_json

PURPOSES = frozenset({"agent", "batch", "code-interpreter", "file-extract"})
TOOL_TYPES = frozenset({"lite", "expert", "prime"})
PARSER_PURPOSE = "parser"
"""Under it a file is kept that was given to the parser, out of sight of the listing."""

_DEFAULT_PAGE, _LARGEST_PAGE = 20, 100
_FILE_TOO_LARGE = 435
_BAD_PARAMETER = "1214"


class Glm(Service):
    """`https://api.z.ai/api/paas/v4`. Errors are `{"error": {"code", "message"}}`, the code a string."""

    name = ServiceName.GLM
    prefix = "/glm/api/paas/v4"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._files = ProviderFiles(self.name, world, id_prefix="file-")

    def endpoints(self) -> Sequence[Endpoint]:
        """See the base class. There is no way to ask for one file's metadata or content."""
        return (
            Endpoint("parser.create", "POST", "/files/parser/create", self._parse),
            Endpoint("parser.result", "GET", "/files/parser/result/{id}/text", self._parsed),
            Endpoint("files.create", "POST", "/files", self._create),
            Endpoint("files.list", "GET", "/files", self._list),
            Endpoint("files.delete", "DELETE", "/files/{id}", self._delete),
            Endpoint("chat", "POST", "/chat/completions", self._chat),
        )

    async def _create(self, exchange: Exchange) -> web.Response:
        form = await self._form(exchange, field="purpose", values=PURPOSES)
        purpose = form.fields["purpose"]
        if self._files.count(purpose) >= self.world.limits.glm_max_files:
            return _error(400, "1210", f"An account keeps at most {self.world.limits.glm_max_files} files")
        return json_response(_described(self._keep(form, purpose, exchange)))

    async def _parse(self, exchange: Exchange) -> web.Response:
        form = await self._form(exchange, field="tool_type", values=TOOL_TYPES)
        if not form.fields.get("file_type"):
            return _error(400, "1213", "The file_type parameter was not received properly")
        task = self._keep(form, PARSER_PURPOSE, exchange)
        return json_response({"task_id": task.id, "message": "success", "success": True})

    async def _parsed(self, exchange: Exchange) -> web.Response:
        task = self._find(exchange, parser=True)
        told = {"message": "", "task_id": task.id, "parsing_result_url": None}
        if FaultKind.UNPARSED in exchange.plan or self.world.clock() < task.parsed_at:
            return json_response({"status": "processing", "content": None, **told})
        if task.parsing_fails:
            return json_response({"status": "failed", "content": None, **told, "message": "told to fail"})
        document = self._files.document(task)
        return web.Response(
            body=as_json(document, status="succeeded", **told),
            headers={"Content-Type": "application/json; charset=utf-8"},
        )

    async def _form(self, exchange: Exchange, *, field: str, values: frozenset[str]) -> Form:
        """A form with a file and a field with one of these values, or a refusal."""
        form = await read_form(exchange, max_bytes=self.world.limits.glm_max_bytes)
        if form.fields.get(field) not in values:
            refusal = _error(400, _BAD_PARAMETER, f"Invalid {field} parameter. Please check the documentation")
        elif form.file is None:
            refusal = _error(400, "1213", "The file parameter was not received properly")
        elif form.file.body is None:
            refusal = _error(_FILE_TOO_LARGE, "1210", "File size exceeds 100MB")
        else:
            return form
        raise Refusal(refusal)

    def _keep(self, form: Form, purpose: str, exchange: Exchange) -> ProviderFile:
        if form.file is None:
            raise LookupError("a form that was accepted has a file")
        return self._files.add(form.file, purpose=purpose, plan=exchange.plan)

    async def _list(self, exchange: Exchange) -> web.Response:
        query = exchange.request.query
        purpose, after = query.get("purpose"), query.get("after")
        files = [
            file for file in self._files.all() if file.purpose != PARSER_PURPOSE and purpose in (None, file.purpose)
        ]
        if query.get("order", "created_at") != "created_at":
            return _error(400, _BAD_PARAMETER, "Invalid order parameter. Please check the documentation")
        if after is not None:
            last_seen = self._number_of(after)
            files = [file for file in files if file.number > last_seen]
        size = _page_size(query.get("limit"))
        return json_response(
            {
                "object": "list",
                "data": [_described(file) for file in files[:size]],
                "has_more": len(files) > size,
            }
        )

    def _number_of(self, identity: str) -> int:
        file = self._files.find(identity)
        if file is None:
            raise Refusal(_error(400, _BAD_PARAMETER, "Invalid after parameter. Please check the documentation"))
        return file.number

    async def _delete(self, exchange: Exchange) -> web.Response:
        file = self._find(exchange, parser=False)
        self._files.remove(file)
        return json_response({"id": file.id, "object": "file", "deleted": True})

    async def _chat(self, exchange: Exchange) -> web.Response:
        try:
            chat = Chat.from_json(await read_object(exchange))
        except InvalidChatError as invalid:
            return _error(400, "1210", f"Incorrect API call parameters: {invalid}")
        created = int(self.world.clock())
        return streamed(chat, created=created) if chat.stream else json_response(completion(chat, created=created))

    def _find(self, exchange: Exchange, *, parser: bool) -> ProviderFile:
        identity = exchange.request.match_info["id"]
        file = self._files.find(identity)
        if file is None or (file.purpose == PARSER_PURPOSE) is not parser:
            raise Refusal(_error(404, _BAD_PARAMETER, f"{identity} does not exist"))
        return file

    def refuse(self, status: int, message: str) -> web.Response:
        """See the base class. A known path with another method is as unknown as any other."""
        if status in {404, 405}:
            return _error(404, "1222", "API does not exist")
        return _error(status, {400: "1210", 500: "500"}.get(status, "1200"), message)

    def unauthorized(self, *, key_given: bool) -> web.Response:
        """See the base class."""
        if key_given:
            return _error(401, "1000", "Authentication Failed")
        return _error(401, "1001", "Authentication parameter not received in Header, unable to authenticate")

    def faulty(self, fault: Fault) -> web.Response:
        """See the base class."""
        advice = "or contact customer service to increase limits"
        match fault.kind:
            case FaultKind.RATE_LIMITED:
                return _error(429, "1303", f"High frequency usage of this API, please reduce frequency {advice}")
            case FaultKind.OVERLOADED:
                return _error(429, "1302", f"High concurrency usage of this API, please reduce concurrency {advice}")
            case FaultKind.QUOTA_EXCEEDED:
                return _error(429, "1113", "Your account is in arrears, please recharge and try again")
            case FaultKind.ERROR_IN_SUCCESS:
                return _error(200, "1305", "The API has triggered a rate limit")
            case _:
                return _error(fault.status, "500", "Internal Error")


def _page_size(limit: str | None) -> int:
    if limit is None:
        return _DEFAULT_PAGE
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit) <= _LARGEST_PAGE:
        raise Refusal(_error(400, _BAD_PARAMETER, "Invalid limit parameter. Please check the documentation"))
    return int(limit)


def _described(file: ProviderFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "filename": file.filename,
        "purpose": file.purpose,
        "created_at": int(file.created_at),
    }


def _error(status: int, code: str, message: str) -> web.Response:
    return json_response({"error": {"code": code, "message": message}}, status)
