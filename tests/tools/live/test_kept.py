"""The dual-write stages on real uploads: what each side makes stays, exactly once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from migration import ShadowMode, Side
from migration.model import Stage, Verdict, stage_of
from tests.tools.live.bench import Bench, declared, document
from tests.tools.live.conftest import MakeBench
from tools.async_file_upload_refactored import upload_via_supabase_gateway_kimi_async
from tools.sandbox import FaultKind
from tools.shadowing import clean


@pytest.mark.parametrize(("serve", "stage"), [(Side.LEGACY, Stage.DUALWRITE), (Side.CANDIDATE, Stage.RAMPDOWN)])
async def test_both_sides_work_is_there_once(serve: Side, stage: Stage, bench: Bench, tmp_path: Path) -> None:
    """A file, an object and a row from each side; the shadow's are marked, and a clean-up leaves them alone."""
    comparison = bench.upload(document(tmp_path), serve=serve, migration=declared(bench.provider, ShadowMode.KEPT))
    assert (comparison.verdict, comparison.mode) == (Verdict.IDENTICAL, ShadowMode.KEPT), comparison
    decision = comparison.decision
    assert stage_of(decision.probability, decision.shadow_probability, comparison.mode) is stage
    assert bench.runtime.shadows.kept == 1
    held = bench.state()
    assert (len(held.files), len(held.objects), len(held.rows)) == (2, 2, 2)
    assert len(held.marked) == 3
    assert not held.copies
    assert await clean(bench.settings) == []
    assert bench.state() == held
    assert len(bench.sandbox.requests(bench.provider, "files.create")) == 2


def test_a_second_write_that_fails_leaves_nothing(make_bench: MakeBench, tmp_path: Path) -> None:
    """Whole or not at all: what was made before the failure is undone, and not counted as kept."""
    bench = make_bench("kimi", "supabase")

    async def fails_half_way(file_path: Any, storage: Any, purpose: str = "file-extract") -> object:
        await upload_via_supabase_gateway_kimi_async(file_path, storage, purpose)
        raise RuntimeError("half way")

    migration = declared("kimi", ShadowMode.KEPT, candidate=fails_half_way)
    assert bench.upload(document(tmp_path), migration=migration).verdict is Verdict.CANDIDATE_ERROR
    held = bench.state()
    assert (len(held.files), len(held.objects), len(held.rows)) == (1, 1, 1)
    assert bench.runtime.shadows.kept == 0


def test_a_retried_second_write_is_there_once(make_bench: MakeBench, tmp_path: Path) -> None:
    """The candidate finds what it sent when only the answer was lost: what is kept is one file."""
    bench = make_bench("kimi", "supabase")
    shim = bench.shim(declared("kimi", ShadowMode.KEPT))
    with bench.runtime.in_flight:
        shim(document(tmp_path), bench.storage)
        bench.sandbox.inject(FaultKind.DROP_AFTER_COMMIT, "kimi", "files.create")
    assert bench.runtime.shadows.drain(60)
    [comparison] = bench.observer.comparisons
    assert comparison.verdict is Verdict.IDENTICAL, (comparison.detail, comparison.differences)
    assert len(bench.state().files) == 2
