"""What no comparison of requests can see, and what sees it instead."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.mutants.blind import BLIND, Blind
from tests.mutants.calls import SAMPLED_CALLS
from tests.mutants.mutant import ROOT
from tests.mutants.trial import Result
from tools.async_file_upload_refactored import (
    cleanup_http_session,
    get_http_session,
    upload_files_kimi_async,
    upload_via_supabase_gateway_kimi_async,
)
from tools.providers.kimi.kimi_files import KimiUploadFilesTool
from tools.sandbox import RunningSandbox
from tools.storage import get_storage
from tools.transport.connections import _open_session

every_one = pytest.mark.parametrize("blind", BLIND, ids=lambda blind: blind.mutant.defect)


@every_one
def test_no_comparison_sees(blind: Blind, trials: Mapping[str, Future[Result]]) -> None:
    """All sampled calls pass: whoever trusts comparisons alone would let this defect through."""
    result = trials[blind.mutant.defect].result()
    assert not result.caught, f"a comparison sees this in {result.fields}: it belongs to the mutants"
    assert result.calls == len(SAMPLED_CALLS)


@every_one
def test_there_is_a_test_for(blind: Blind) -> None:
    """What comparisons cannot see stands in the test that is named for it."""
    file, _, name = blind.caught_by.partition("::")
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


async def test_every_upload_of_a_loop_uses_the_loops_own_pool(monolith: RunningSandbox, tmp_path: Path) -> None:
    """An upload runs under the loop that awaits it, and leaves its connections there for the next one."""
    del monolith  # configured
    path = tmp_path / "document.txt"
    path.write_text("text")
    assert _open_session() is None
    await upload_via_supabase_gateway_kimi_async(path, get_storage())
    assert _open_session() is not None
    await cleanup_http_session()


def test_each_loop_has_a_pool_of_its_own() -> None:
    """While one loop is in use, another one gets other connections."""

    async def other_loops() -> object:
        session = await get_http_session()
        await cleanup_http_session()
        return session

    async def both() -> tuple[object, object]:
        mine = await get_http_session()
        other = await asyncio.to_thread(asyncio.run, other_loops())
        await cleanup_http_session()
        return mine, other

    mine, other = asyncio.run(both())
    assert mine is not other


async def test_a_masked_time_is_of_the_same_form(monolith: RunningSandbox, tmp_path: Path) -> None:
    """Each side looks at the clock, in UTC, and says so in the same way."""
    del monolith  # configured
    path = tmp_path / "document.txt"
    path.write_text("text")
    tool = KimiUploadFilesTool(get_storage())
    began = datetime.now(UTC)
    entries = [*(await upload_files_kimi_async(tool, [path])), *await asyncio.to_thread(tool._run, [path])]
    for entry in entries:
        assert entry["upload_timestamp"].endswith("+00:00")
        assert began <= datetime.fromisoformat(entry["upload_timestamp"]) <= datetime.now(UTC)
    await cleanup_http_session()
