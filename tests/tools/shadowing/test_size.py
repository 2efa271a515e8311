"""The bytes of a call are known before it is rehearsed, so that what waits can be bounded."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from migration import Call
from migration.model import CallSite
from tools.migrations import MIGRATIONS
from tools.providers.kimi.kimi_files import KimiUploadFilesTool
from tools.settings import Settings, use_settings
from tools.shadowing import UploadReplay
from tools.storage import get_storage

KIMI = "tools.providers.kimi.kimi_files"
FUNCTION = cast("UploadReplay", MIGRATIONS[f"{KIMI}:upload_via_supabase_gateway_kimi"].replay)
MANY = cast("UploadReplay", MIGRATIONS[f"{KIMI}:KimiUploadFilesTool._run"].replay)


def a_call(*args: object) -> Call:
    site = CallSite(function="f", file="f.py", line=1)
    return Call(migration="m", function="m:f", call_id="u", args=args, kwargs={}, site=site)


def test_a_recording_knows_the_size_of_its_files(tmp_path: Path) -> None:
    """It is that of all files before the call, however they changed meanwhile; a missing one counts nothing."""
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_bytes(b"x" * 100)
    second.write_bytes(b"x" * 20)
    with use_settings(Settings(shim_home=tmp_path)):
        storage = get_storage()
        with FUNCTION.record(a_call(first, storage)) as recording:
            first.write_bytes(b"x" * 1000)
        assert recording.size() == 100
        tool = KimiUploadFilesTool(storage)
        with MANY.record(a_call(tool, [str(first), str(second), "missing"])) as recording:
            pass
        assert recording.size() == 1020
