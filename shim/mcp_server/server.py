"""The tools that are served, and how a call of each is carried out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

from shim.mcp_server.places import BusyError, Places
from shim.mcp_server.reporting import reported
from tools.settings import Settings, use_settings
from tools.smart_file_query import SmartFileQueryTool

NAME = "migration-shim"

INSTRUCTIONS = (
    "Answers questions about files of this machine. A file is uploaded to Kimi or GLM once; later questions about the "
    "same contents find it there. migration_status says how the uploads are carried out and how well that goes."
)

ADVICE = {
    "timeout": "ask again: an upload that has ended meanwhile is found and not repeated",
    "upload_failed": "look at the path and at what was refused, then ask again; what was taken is not sent twice",
    "query_failed": "look at the arguments; the file, if it was taken, stays uploaded, so asking again costs no upload",
}
"""What to do next, by `error_type`."""

Standing = Callable[[], Mapping[str, Any]]
"""Where the migrations stand, as plain data. May block."""


class Answer(BaseModel):
    """An answer, and where it comes from."""

    answer: str = Field(description="What the provider answered.")
    provider: str = Field(description="Who answered: kimi or glm.")
    model: str = Field(description="The model that answered.")
    file_id: str = Field(description="The provider's id of the file.")
    filename: str = Field(description="Name of the file, without its folder.")
    deduplicated: bool = Field(description="Whether the provider had the file already.")


FilePath = Annotated[str, Field(description="Path of the file on this machine, within the allowed folders.")]
Question = Annotated[str, Field(description="The question about it.")]
Provider = Annotated[Literal["auto", "kimi", "glm"], Field(description="Who is asked first; auto is Kimi, then GLM.")]
Model = Annotated[str | None, Field(description="The model to ask; by default the provider's configured one.")]


def build_server(settings: Settings, standing: Standing) -> MCPServer:
    """The server; every call is made with `settings`."""
    calls = _Calls(settings, standing)
    server = MCPServer(NAME, instructions=INSTRUCTIONS, lifespan=calls.lifespan, log_level="WARNING")
    server.add_tool(
        calls.smart_file_query,
        title="Ask about a file",
        annotations=ToolAnnotations(
            read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True
        ),
    )
    server.add_tool(
        calls.migration_status,
        title="Where the migrations stand",
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    )
    return server


class _Calls:
    """The tools' functions. Their docstrings are what clients are told of them."""

    def __init__(self, settings: Settings, standing: Standing) -> None:
        self._settings = settings
        self._standing = standing
        self._places: Places | None = None

    @asynccontextmanager
    async def lifespan(self, _server: MCPServer) -> AsyncIterator[None]:
        """Make the places once; over HTTP there is a lifespan for each session, and they share them."""
        self._places = self._places or Places()
        yield

    async def smart_file_query(
        self, file_path: FilePath, question: Question, ctx: Context, provider: Provider = "auto", model: Model = None
    ) -> Answer:
        """Answer a question about a file of this machine: upload it unless the provider has it, read it, ask.

        A call that is cancelled begins nothing more; an upload under way is brought to its end, and found next time.
        """
        arguments = {"file_path": file_path, "question": question, "provider": provider, "model": model}
        async with self._place():
            with use_settings(self._settings):
                async with reported(ctx.report_progress, file_path):
                    document = json.loads(await SmartFileQueryTool().execute(arguments))
        if document["status"] != "success":
            kind = document["metadata"]["error_type"]
            raise ToolError(f"{document['content']} ({kind}; {ADVICE[kind]})")
        return Answer(answer=document["content"], **document["metadata"])

    async def migration_status(self) -> dict[str, Any]:
        """Say who serves uploads, how well both implementations do, what comparisons found, what the guard decided."""
        async with self._place():
            with use_settings(self._settings):
                return dict(await asyncio.to_thread(self._standing))

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        assert self._places is not None  # noqa: S101  # a call comes within a lifespan
        try:
            async with self._places.place():
                yield
        except BusyError as busy:
            raise ToolError(str(busy)) from None
