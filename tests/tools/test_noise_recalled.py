"""What was learned about noise survives a restart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from migration import Call, Comparison, Decision, Reason, Side
from migration.model import CallSite, NoiseSample, Verdict
from migration.shadow import FieldVerdict
from shim.wiring import open_ledger
from tools.application import app
from tools.migrations import NAMES
from tools.settings import Settings


def differing(migration: str) -> Comparison:
    """A comparison for which legacy ran twice, and differed from itself."""
    site = CallSite(function="f", file="f.py", line=1)
    return Comparison(
        call=Call(migration=migration, function="m:f", call_id="u", args=(), kwargs={}, site=site),
        decision=Decision(serve=Side.LEGACY, shadow=True, reason=Reason.STATIC),
        verdict=Verdict.DIFFERENT,
        noise=NoiseSample(candidate=("result.at",), legacy=("result.at",)),
    )


def verdicts(settings: Settings, migration: str) -> Mapping[str, FieldVerdict]:
    with app.running(settings) as installation:
        report = installation.runtime.shadows.noise.report(migration)
        return {found.field: found.verdict for found in report.fields}


@pytest.mark.parametrize("migration", NAMES)
def test_a_new_process_knows_the_noise_of_the_old_one(tmp_path: Path, migration: str) -> None:
    """The samples in the ledger are learned again at the start."""
    settings = Settings(shim_home=tmp_path)
    ledger = open_ledger(settings)
    for _ in range(20):
        ledger.compared(differing(migration))
    assert ledger.flush()
    assert verdicts(settings, migration) == {"result.at": FieldVerdict.NOISE}


def test_a_ledger_that_cannot_be_read_keeps_nothing_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Noise is learned again then, and the log says so."""
    settings = Settings(shim_home=tmp_path)
    settings.shim_db.write_bytes(b"no database" * 1000)
    assert verdicts(settings, NAMES[0]) == {}
    assert "learned again" in caplog.text
