"""HTTP libraries, used plainly: an open file in a form.

Each is imported by the one who is measured; some are in the benchmark's environment only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

from bench.clients.uploads import PURPOSE, SECRET, TIMEOUT_SECONDS, AsyncUploads, Uploads, check_answer
from bench.harness import Job

_MANY = 1000
"""Connections that a client may have: as many as uploads in flight."""


@contextmanager
def httpx_sync(job: Job) -> Iterator[Uploads]:
    """`httpx.Client`."""
    import httpx  # noqa: PLC0415  # loaded by the one who is measured

    limits = httpx.Limits(max_connections=_MANY, max_keepalive_connections=_MANY)
    with httpx.Client(timeout=TIMEOUT_SECONDS, limits=limits) as client:

        def send(path: Path) -> None:
            with path.open("rb") as file:
                check_answer(client.post(job.sink.files_url, data={"purpose": PURPOSE}, files={"file": file}).json())

        yield Uploads(job, send)


@asynccontextmanager
async def httpx_async(job: Job) -> AsyncIterator[AsyncUploads]:
    """`httpx.AsyncClient`."""
    import httpx  # noqa: PLC0415  # as above

    limits = httpx.Limits(max_connections=_MANY, max_keepalive_connections=_MANY)
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, limits=limits) as client:

        async def send(path: Path) -> None:
            with path.open("rb") as file:
                answer = await client.post(job.sink.files_url, data={"purpose": PURPOSE}, files={"file": file})
            check_answer(answer.json())

        yield AsyncUploads(job, send)


@contextmanager
def requests(job: Job) -> Iterator[Uploads]:
    """`requests.Session`."""
    import requests as library  # noqa: PLC0415  # as above

    with library.Session() as session:

        def send(path: Path) -> None:
            with path.open("rb") as file:
                answer = session.post(
                    job.sink.files_url, data={"purpose": PURPOSE}, files={"file": file}, timeout=TIMEOUT_SECONDS
                )
            check_answer(answer.json())

        yield Uploads(job, send)


@contextmanager
def requests_toolbelt(job: Job) -> Iterator[Uploads]:
    """`requests` with the toolbelt's streaming form."""
    import requests as library  # noqa: PLC0415  # as above
    from requests_toolbelt import MultipartEncoder  # type: ignore[import-not-found]  # only there  # noqa: PLC0415

    with library.Session() as session:

        def send(path: Path) -> None:
            with path.open("rb") as file:
                form = MultipartEncoder({"purpose": PURPOSE, "file": (path.name, file, "application/octet-stream")})
                answer = session.post(
                    job.sink.files_url,
                    data=form,
                    headers={"Content-Type": form.content_type},
                    timeout=TIMEOUT_SECONDS,
                )
            check_answer(answer.json())

        yield Uploads(job, send)


@contextmanager
def niquests(job: Job) -> Iterator[Uploads]:
    """`niquests.Session`."""
    import niquests as library  # type: ignore[import-not-found]  # as above  # noqa: PLC0415

    with library.Session() as session:
        session.verify = str(job.sink.authority) if job.sink.authority else True

        def send(path: Path) -> None:
            with path.open("rb") as file:
                answer = session.post(
                    job.sink.files_url, data={"purpose": PURPOSE}, files={"file": file}, timeout=TIMEOUT_SECONDS
                )
            check_answer(answer.json())

        yield Uploads(job, send)


@asynccontextmanager
async def aiohttp_form(job: Job) -> AsyncIterator[AsyncUploads]:
    """`aiohttp.FormData` with an open file."""
    import aiohttp  # noqa: PLC0415  # as above

    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_MANY), timeout=timeout) as session:

        async def send(path: Path) -> None:
            with path.open("rb") as file:
                form = aiohttp.FormData()
                form.add_field("purpose", PURPOSE)
                form.add_field("file", file, filename=path.name, content_type="application/octet-stream")
                async with session.post(job.sink.files_url, data=form) as answer:
                    check_answer(await answer.json())

        yield AsyncUploads(job, send)


# The vendors' SDKs, with one client for all files.


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
