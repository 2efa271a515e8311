"""The monolith's tool for assistants: `smart_file_query`, with progress told from the requests made for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from enum import IntEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

from shim.application import Application
from shim.http.attempts import looked_on_by
from shim.installation import Installation
from shim.mcp import AssistantCalls, AssistantTools
from tools.providers.spec import PROVIDERS
from tools.session import session
from tools.settings import MEGABYTE
from tools.smart_file_query import AUTO, SmartFileQueryTool

INSTRUCTIONS = (
    "smart_file_query answers questions about files of this machine. A file is uploaded to a provider once; later "
    "questions about the same contents find it there."
)

ADVICE = {
    "timeout": "ask again: an upload that has ended meanwhile is found and not repeated",
    "upload_failed": "look at the path and at what was refused, then ask again; what was taken is not sent twice",
    "query_failed": "look at the arguments; the file, if it was taken, stays uploaded, so asking again costs no upload",
}
"""What to do next, by `error_type`."""

LOOK_SECONDS = 0.1
"""Between two looks at how far a call is, so a client gets at most ten notifications a second and five at the end."""


class FileAnswer(BaseModel):
    """An answer, and where it comes from."""

    answer: str = Field(description="What the provider answered.")
    provider: str = Field(description="Who answered.")
    model: str = Field(description="The model that answered.")
    file_id: str = Field(description="The provider's id of the file.")
    filename: str = Field(description="Name of the file, without its folder.")
    deduplicated: bool = Field(description="Whether the provider had the file already.")


FilePath = Annotated[str, Field(description="Path of the file on this machine, within the allowed folders.")]
Question = Annotated[str, Field(description="The question about it.")]
Wanted = Annotated[
    str,
    Field(
        description=f"Who is asked first; {AUTO} asks {', then '.join(each.label for each in PROVIDERS.values())}.",
        json_schema_extra={"enum": [AUTO, *PROVIDERS]},
    ),
]
Model = Annotated[str | None, Field(description="The model to ask; by default the provider's configured one.")]


def add_file_tools(server: MCPServer, calls: AssistantCalls) -> None:
    """Serve `smart_file_query`; its docstring is what clients are told of it."""

    async def smart_file_query(
        file_path: FilePath, question: Question, ctx: Context, provider: Wanted = AUTO, model: Model = None
    ) -> FileAnswer:
        """Answer a question about a file of this machine: upload it unless the provider has it, read it, ask.

        A call that is cancelled begins nothing more; an upload in flight is brought to its end, and found next time.
        """
        arguments = {"file_path": file_path, "question": question, "provider": provider, "model": model}
        async with calls.one(), reported(ctx.report_progress, file_path):
            document = json.loads(await SmartFileQueryTool().execute(arguments))
        if document["status"] != "success":
            kind = document["metadata"]["error_type"]
            raise ToolError(f"{document['content']} ({kind}; {ADVICE[kind]})")
        return FileAnswer(answer=document["content"], **document["metadata"])

    server.add_tool(
        smart_file_query,
        title="Ask about a file",
        annotations=ToolAnnotations(
            read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True
        ),
    )


def file_tools(app: Application) -> AssistantTools:
    """What `shim mcp` serves here beside the operators' tools."""

    @contextmanager
    def serving() -> Iterator[Installation]:
        """The migrations in place, in front of the configured services or the sandbox."""
        with session(app, "auto") as opened:
            yield opened.installation

    return AssistantTools(instructions=INSTRUCTIONS, add=add_file_tools, serving=serving)


# How far a question about a file is, told from the requests that are made for it

_READS = frozenset({"GET", "HEAD"})
_GOES_ON = "PATCH"
"""The next piece of the same body; every other request that sends a body begins it from its start."""


class QueryPhase(IntEnum):
    """What is being done, in the order in which it is done. A phase may be left out."""

    HASHING = 0
    COPY = 1  # to the storage
    UPLOAD = 2  # to the provider
    READING = 3  # the provider reads the file
    ANSWERING = 4

    @property
    def word(self) -> str:
        """As in messages."""
        return self.name.lower()


_WITH_BYTES = frozenset({QueryPhase.COPY, QueryPhase.UPLOAD})

_LESS_THAN_A_PHASE = 0.99
"""All bytes have left, but the answer is still to come: the next phase has a number of its own."""

Tell = Callable[[float, float, str], Awaitable[None]]
"""Reports `progress` of `total`, and a message."""


class QueryProgress:
    """How far one call is. Written by what does the work, read by what reports it.

    Attributes:
        phase: the furthest phase that was begun.
        bytes_sent: bytes of a body that have been taken by its connection in this phase.
        seen: the phases that were begun, in order.
    """

    def __init__(self) -> None:
        self.phase = QueryPhase.HASHING
        self.bytes_sent = 0
        self.seen = [QueryPhase.HASHING]

    def began(self, *, method: str, url: str) -> None:
        """Take note of a request; one of an earlier phase (another provider is tried) leaves the phase as it is."""
        phase = phase_of(method, url)
        if phase is None:
            return
        if phase > self.phase:
            self.phase = phase
            self.seen.append(phase)
        elif phase < self.phase or method == _GOES_ON:
            return
        self.bytes_sent = 0

    def sent(self, count: int) -> None:
        """Take note of bytes that have left."""
        self.bytes_sent += count


def phase_of(method: str, url: str) -> QueryPhase | None:
    """What a request is made for; None for one that says nothing about it, such as a look at a list."""
    service, path = urlsplit(url).scheme, urlsplit(url).path
    if service == "storage" or "/storage/v1/" in path:
        is_copy = method == "upload_file" or (service != "storage" and method not in _READS)
        return QueryPhase.COPY if is_copy else None
    if path.endswith("/chat/completions"):
        return QueryPhase.ANSWERING
    if path.endswith("/files"):
        return None if method in _READS else QueryPhase.UPLOAD
    return QueryPhase.READING if "/files/" in path else None


@asynccontextmanager
async def reported(tell: Tell, file: str) -> AsyncIterator[None]:
    """Report how far the work inside is: one unit a phase, and within an upload the share of its bytes that has left.

    Args:
        tell: what reports.
        file: the path as the client gave it.
    """
    progress = QueryProgress()
    reporter = _Reporter(progress, tell, file)
    with looked_on_by(progress):
        looking = asyncio.create_task(reporter.keep_reporting())
        try:
            yield
            await reporter.report()
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking


class _Reporter:
    """Tells a client how far its call is: a few times a second, in numbers that only rise."""

    def __init__(self, progress: QueryProgress, tell: Tell, file: str) -> None:
        self._progress = progress
        self._tell = tell
        self._file = file
        self._told = -1.0
        self._phases_told = 0
        self._reporting = asyncio.Lock()

    async def keep_reporting(self) -> None:
        while True:
            await self.report()
            await asyncio.sleep(LOOK_SECONDS)

    async def report(self) -> None:
        """Report each phase that was begun since the last time, and how far the last of them is."""
        async with self._reporting:
            for phase in self._progress.seen[self._phases_told :]:
                self._phases_told += 1
                await self._report(float(phase), phase.word)
            phase, sent = self._progress.phase, self._progress.bytes_sent
            size = await asyncio.to_thread(_size_of, self._file) if phase in _WITH_BYTES and sent else 0
            if size:
                sent = min(sent, size)  # the form around the file is sent as well
                message = f"{phase.word}: {sent / MEGABYTE:.1f} of {size / MEGABYTE:.1f} MB sent"
                await self._report(phase + sent / size * _LESS_THAN_A_PHASE, message)

    async def _report(self, progress: float, message: str) -> None:
        if progress > self._told:
            self._told = progress
            await self._tell(progress, float(len(QueryPhase)), message)


def _size_of(file: str) -> int:
    """Bytes of a file that is being sent; 0 if it cannot be looked at any more."""
    try:
        return Path(file).stat().st_size
    except OSError:
        return 0
