"""Limits by account: uploads at once and uploads a minute, refused in each vendor's words."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from zai import ZaiClient
from zai.core import APIReachLimitError

from tools.sandbox import FaultKind, RunningSandbox

CREATE = "files.create"


async def test_kimi_takes_so_many_at_once(sandbox: RunningSandbox, async_kimi: AsyncOpenAI) -> None:
    """Those above the limit are told to come back, without being told when; a place is free again after an answer."""
    sandbox.set_limits(kimi_max_at_once=2)
    sandbox.inject(FaultKind.LATENCY, "kimi", CREATE, times=None, seconds=0.3)
    uploads = [async_kimi.files.create(file=(f"{n}.txt", b"x"), purpose="batch") for n in range(5)]
    results = await asyncio.gather(*uploads, return_exceptions=True)
    refused = [result for result in results if isinstance(result, openai.RateLimitError)]
    assert len(refused) == 3
    assert all("overloaded" in str(error) and "retry-after" not in error.response.headers for error in refused)
    await async_kimi.files.create(file=("later.txt", b"x"), purpose="batch")
    assert len(sandbox.state()["kimi"]["files"]) == 3


def test_kimi_takes_so_many_a_minute(sandbox: RunningSandbox, kimi: OpenAI) -> None:
    """The refusal says when the minute is over; reading is not counted, and a reset forgets what was."""
    sandbox.set_limits(kimi_max_a_minute=2)
    for number in range(2):
        kimi.files.create(file=(f"{number}.txt", b"x"), purpose="batch")
    with pytest.raises(openai.RateLimitError, match="please try again after") as caught:
        kimi.files.create(file=("third.txt", b"x"), purpose="batch")
    assert 55 <= int(caught.value.response.headers["retry-after"]) <= 60
    assert len(kimi.files.list().data) == 2
    sandbox.reset()
    sandbox.set_limits(kimi_max_a_minute=1)
    kimi.files.create(file=("again.txt", b"x"), purpose="batch")


def test_glm_has_its_own_limits_and_words(sandbox: RunningSandbox, glm: ZaiClient) -> None:
    """Concurrency and frequency have different codes."""
    sandbox.set_limits(glm_max_at_once=1, glm_max_a_minute=3, kimi_max_at_once=1)
    sandbox.inject(FaultKind.LATENCY, "glm", CREATE, seconds=0.5)

    def upload(number: int) -> str:
        return str(glm.files.create(file=(f"{number}.txt", b"x"), purpose="batch").id)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(upload, 0)
        sandbox.wait_for_requests("glm", CREATE)
        with pytest.raises(APIReachLimitError, match="1302"):
            upload(1)
        first.result()
    upload(2)
    upload(3)
    with pytest.raises(APIReachLimitError, match="1303"):
        upload(4)


def test_who_has_no_key_does_not_count(sandbox: RunningSandbox, kimi: OpenAI) -> None:
    """A request that is turned away uses up nothing."""
    sandbox.set_limits(kimi_max_a_minute=1)
    for _ in range(3):
        assert httpx.post(f"{sandbox.urls['kimi']}/files").status_code == 401
    kimi.files.create(file=("counted.txt", b"x"), purpose="batch")
