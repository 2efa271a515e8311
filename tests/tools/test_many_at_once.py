"""Many callers of all kinds at once: each gets its own answer, and every upload exists once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from migration import Call, Decision, Reason, Runtime, Side, install, uninstall
from migration.testing import RecordingObserver
from tools.async_file_upload_refactored import cleanup_http_session
from tools.migrations import MIGRATIONS
from tools.providers.kimi import kimi_files
from tools.sandbox import RunningSandbox
from tools.settings import Settings, use_settings
from tools.storage import get_storage

TARGET = "tools.providers.kimi.kimi_files:upload_via_supabase_gateway_kimi"
AWAITING, THREADS = 120, 40


class EveryOther:
    """Serves every second call by the candidate and shadows none."""

    def __init__(self) -> None:
        self._calls = count()

    def decide(self, call: Call) -> Decision:  # noqa: ARG002  # in turn, whatever the call is
        serve = Side.CANDIDATE if next(self._calls) % 2 else Side.LEGACY
        return Decision(serve=serve, probability=0.5, reason=Reason.SPLIT)


@pytest.fixture
def seen() -> Iterator[RecordingObserver]:
    observer = RecordingObserver()
    runtime = Runtime(router=EveryOther(), observers=[observer])
    runtime.loop.on_close(cleanup_http_session)
    install(TARGET, MIGRATIONS[TARGET], runtime=runtime)
    yield observer
    runtime.close()
    uninstall(TARGET)


def test_each_upload_exists_once(
    seen: RecordingObserver, sandbox: RunningSandbox, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """160 uploads, awaited and from threads, half of them on each side: 160 answers, 160 files, the right bytes."""
    files = [tmp_path / f"file-{number}.txt" for number in range(AWAITING + THREADS)]
    for number, file in enumerate(files):
        file.write_bytes(f"{number} ".encode() * 2000)
    settings = Settings(kimi_api_url=sandbox.urls["kimi"], kimi_api_key="key", shim_home=tmp_path / "state")
    with use_settings(settings):
        storage = get_storage()
        upload: Any = kimi_files.upload_via_supabase_gateway_kimi

        async def await_all() -> list[dict[str, Any]]:
            return list(await asyncio.gather(*(upload.aio(file, storage) for file in files[:AWAITING])))

        with ThreadPoolExecutor(THREADS) as pool:
            threads = [pool.submit(copy_context().run, upload, file, storage) for file in files[AWAITING:]]
            results = asyncio.run(await_all()) + [thread.result() for thread in threads]

    held = {file["id"]: file["sha256"] for file in sandbox.state()["kimi"]["files"]}
    sent = {
        result["kimi_file_id"]: hashlib.sha256(file.read_bytes()).hexdigest()
        for file, result in zip(files, results, strict=True)
    }
    assert held == sent
    assert len(sent) == AWAITING + THREADS
    sides = seen.served()
    assert sides.count(Side.CANDIDATE) == sides.count(Side.LEGACY) == (AWAITING + THREADS) / 2
    say(f"{len(sent)} uploads at once, {sides.count(Side.CANDIDATE)} of them asynchronous: none lost, none doubled")
