"""The vendors' SDKs, with one client for all files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

from bench.clients.uploads import PURPOSE, SECRET, TIMEOUT_SECONDS, AsyncUploads, Uploads, check_answer
from bench.harness import Job


@contextmanager
def openai_sync(job: Job) -> Iterator[Uploads]:
    """`openai.OpenAI` with a path, as its documentation recommends."""
    from openai import OpenAI  # noqa: PLC0415  # loaded by the one who is measured

    with OpenAI(api_key=SECRET, base_url=job.sink.url, timeout=TIMEOUT_SECONDS, max_retries=0) as client:

        def send(path: Path) -> None:
            check_answer(client.files.create(file=path, purpose=cast("Any", PURPOSE)).to_dict())

        yield Uploads(job, send)


@asynccontextmanager
async def openai_async(job: Job) -> AsyncIterator[AsyncUploads]:
    """`openai.AsyncOpenAI` with a path."""
    from openai import AsyncOpenAI  # noqa: PLC0415  # as above

    async with AsyncOpenAI(api_key=SECRET, base_url=job.sink.url, timeout=TIMEOUT_SECONDS, max_retries=0) as client:

        async def send(path: Path) -> None:
            answer = await client.files.create(file=path, purpose=cast("Any", PURPOSE))
            check_answer(answer.to_dict())

        yield AsyncUploads(job, send)


@contextmanager
def zai(job: Job) -> Iterator[Uploads]:
    """`zai.ZaiClient` with a path."""
    from zai import ZaiClient  # noqa: PLC0415  # as above

    with ZaiClient(api_key=SECRET, base_url=job.sink.url, timeout=TIMEOUT_SECONDS, max_retries=0) as client:

        def send(path: Path) -> None:
            check_answer(client.files.create(file=path, purpose=cast("Any", PURPOSE)).to_dict())

        yield Uploads(job, send)
