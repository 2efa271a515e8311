"""The vendors' own clients, pointed at the sandbox; none of them retries.

The synchronous ones live as long as the sandbox: making one costs more than most tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from openai import AsyncOpenAI, OpenAI
from supabase import AsyncClient, AsyncClientOptions, Client, ClientOptions, acreate_client, create_client
from zai import ZaiClient

from tools.sandbox import RunningSandbox

BUCKET = "user-files"


@pytest.fixture(scope="session")
def http(sandbox_process: RunningSandbox) -> Iterator[httpx.Client]:
    """A plain HTTP client with a key."""
    with httpx.Client(headers={"Authorization": f"Bearer {sandbox_process.key}"}, timeout=20) as client:
        yield client


@pytest.fixture(scope="session")
def _kimi(sandbox_process: RunningSandbox) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=sandbox_process.urls["kimi"], api_key=sandbox_process.key, max_retries=0, timeout=20
    ) as client:
        yield client


@pytest.fixture(scope="session")
def _glm(sandbox_process: RunningSandbox) -> Iterator[ZaiClient]:
    with ZaiClient(
        base_url=sandbox_process.urls["glm"], api_key=sandbox_process.key, max_retries=0, timeout=20
    ) as client:
        yield client


@pytest.fixture(scope="session")
def _supabase(sandbox_process: RunningSandbox, http: httpx.Client) -> Client:
    return create_client(sandbox_process.supabase_url, sandbox_process.key, ClientOptions(httpx_client=http))


@pytest.fixture
def kimi(sandbox: RunningSandbox, _kimi: OpenAI) -> OpenAI:  # noqa: ARG001 - the sandbox is emptied first
    return _kimi


@pytest.fixture
def glm(sandbox: RunningSandbox, _glm: ZaiClient) -> ZaiClient:  # noqa: ARG001 - as above
    return _glm


@pytest.fixture
def supabase(sandbox: RunningSandbox, _supabase: Client) -> Client:  # noqa: ARG001 - as above
    return _supabase


@pytest.fixture
async def async_kimi(sandbox: RunningSandbox) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=sandbox.urls["kimi"], api_key=sandbox.key, max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture
async def async_supabase(sandbox: RunningSandbox) -> AsyncIterator[AsyncClient]:
    async with httpx.AsyncClient(timeout=20) as transport:
        yield await acreate_client(sandbox.supabase_url, sandbox.key, AsyncClientOptions(httpx_client=transport))
