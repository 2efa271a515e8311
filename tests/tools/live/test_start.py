"""Live shadows as the monolith has them: by configuration, and tidied up when a process starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from flags import FileFlagAdmin
from migration import ShadowMode
from migration.model import Verdict
from migration.testing import RecordingObserver
from tests.migration.helpers import eventually
from tests.tools.live.bench import Bench, document
from tests.tools.live.conftest import MakeBench
from tools.application import app
from tools.providers.kimi import kimi_files
from tools.sandbox import FaultKind
from tools.shadowing.undoing import journal_of
from tools.storage import get_storage


def flags_at(bench: Bench, serve: int, shadow: int) -> None:
    admin = FileFlagAdmin(bench.settings.flags_file)
    for name, percentage in (("async-upload-kimi", serve), ("async-upload-kimi.shadow", shadow)):
        admin.ensure(name)
        admin.set_percentage(name, percentage)


@pytest.mark.parametrize("mode", ["replay", "live", "kept"])
def test_the_setting_decides_how_shadows_run(mode: str, make_bench: MakeBench, tmp_path: Path) -> None:
    """SHADOW_MODE, and nothing else: the unchanged caller, the unchanged declarations."""
    bench = make_bench("kimi", "embedded", shadow_mode=mode)
    flags_at(bench, serve=0, shadow=100)
    observer = RecordingObserver()
    with app.running(bench.settings, observers=[observer]) as installation:
        kimi_files.upload_via_supabase_gateway_kimi(document(tmp_path), get_storage())
        assert installation.runtime.shadows.drain(60)
    [comparison] = observer.comparisons
    assert (comparison.verdict, comparison.mode) == (Verdict.IDENTICAL, ShadowMode(mode)), comparison
    assert len(bench.sandbox.requests("kimi", "files.create")) == (1 if mode == "replay" else 2)
    assert len(bench.state().files) == (2 if mode == "kept" else 1)


def test_a_start_cleans_up(make_bench: MakeBench, tmp_path: Path) -> None:
    """What an earlier process had to leave is removed in the background, once the next one begins."""
    bench = make_bench("kimi", "embedded")
    bench.sandbox.inject(FaultKind.SERVER_ERROR, "kimi", "files.delete", times=None)
    bench.upload(document(tmp_path))
    bench.sandbox.clear_faults()
    assert bench.state().marked
    with app.running(bench.settings):
        app.begin()
        assert eventually(lambda: not journal_of(bench.settings).left(), seconds=20)
    assert not bench.state().marked
