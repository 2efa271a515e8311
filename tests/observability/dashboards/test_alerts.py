"""The alerts, each fired by its reason alone, by Prometheus' own tool for unit tests."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # its types are a package of their own

from migration.guard import Rule, Signal
from tests.support.unleash_programs import REPOSITORY

RULES = REPOSITORY / "observability" / "dashboards" / "alerts.yml"

RUNS = "migration_operation_duration_seconds"
LEGACY = 'migration_name="m", migration_side="legacy", migration_role="primary"'
ASYNC = 'migration_name="m", migration_side="candidate", migration_role="primary"'
TARGET = 'job="j", instance="i"'

HEALTHY = {
    f"{RUNS}_count{{{LEGACY}}}": "0+20x120",
    f"{RUNS}_count{{{ASYNC}}}": "0+20x120",
    f'{RUNS}_count{{{LEGACY}, error_type="RuntimeError", migration_error_kind="timeout"}}': "0+1x120",
    f'{RUNS}_count{{{ASYNC}, error_type="RuntimeError", migration_error_kind="timeout"}}': "0+1x120",
    f'{RUNS}_bucket{{{LEGACY}, le="1"}}': "0+20x120",
    f'{RUNS}_bucket{{{LEGACY}, le="10"}}': "0+20x120",
    f'{RUNS}_bucket{{{LEGACY}, le="+Inf"}}': "0+20x120",
    f'{RUNS}_bucket{{{ASYNC}, le="1"}}': "0+20x120",
    f'{RUNS}_bucket{{{ASYNC}, le="10"}}': "0+20x120",
    f'{RUNS}_bucket{{{ASYNC}, le="+Inf"}}': "0+20x120",
    'migration_shadow_comparisons_total{migration_name="m", migration_shadow_verdict="identical"}': "0+9x120",
    'migration_shadow_comparisons_total{migration_name="m", migration_shadow_verdict="different"}': "0x120",
    'migration_shadow_comparisons_total{migration_name="m", migration_shadow_verdict="dropped"}': "0+90x120",
    f"process_memory_usage_bytes{{{TARGET}}}": "1000000000+1000000x120",
    f"migration_guard_memory_limit_bytes{{{TARGET}}}": "4000000000x120",
    f'migration_decisions_total{{{TARGET}, migration_name="m", migration_side="candidate"}}': "0+20x120",
    f'migration_decisions_total{{{TARGET}, migration_name="m", migration_side="legacy"}}': "0+20x120",
    f'migration_decisions_expected_total{{{TARGET}, migration_name="m"}}': "0+20x120",
    'migration_guard_tripped{migration_name="m"}': "0x120",
    'migration_guard_evidence{migration_name="m"}': "1x120",
    'migration_notices_total{migration_name="m", migration_notice_kind="blocked_event_loop"}': "0+1x120",
}
"""Two hours in which nothing is wrong: both sides fail alike, and what was dropped says nothing."""

REASONS = {
    "CandidateFailsMoreOften": {
        f'{RUNS}_count{{{LEGACY}, error_type="RuntimeError", migration_error_kind="unknown"}}': "0+1x120",
        f'{RUNS}_count{{{ASYNC}, error_type="RuntimeError", migration_error_kind="unknown"}}': "0+4x120",
    },
    "CandidateTimesOutMoreOften CandidateFailsMoreOften": {
        f'{RUNS}_count{{{ASYNC}, error_type="RuntimeError", migration_error_kind="timeout"}}': "0+4x120",
    },
    "CandidateIsSlower": {f'{RUNS}_bucket{{{ASYNC}, le="1"}}': "0+10x120"},
    "CandidateFailsInANewWay": {
        f'{RUNS}_count{{{ASYNC}, error_type="RuntimeError", migration_error_kind="bad_answer"}}': "0x60 1x60",
    },
    "CandidateHarmsContents CandidateFailsInANewWay": {
        f'{RUNS}_count{{{ASYNC}, error_type="RuntimeError", migration_error_kind="integrity"}}': "0x60 1x60",
    },
    "SidesDiffer": {
        'migration_shadow_comparisons_total{migration_name="m", migration_shadow_verdict="different"}': "0x100 1+1x20"
    },
    "MemoryNearlyUsedUp": {f"process_memory_usage_bytes{{{TARGET}}}": "3500000000x120"},
    "MemoryGrows": {f"process_memory_usage_bytes{{{TARGET}}}": "1000000000x100 2000000000x20"},
    "CallsNotSharedOutAsIntended": {
        f'migration_decisions_expected_total{{{TARGET}, migration_name="m"}}': "0+10x120",
    },
    "MigrationRolledBack": {'migration_guard_tripped{migration_name="m"}': "0x60 1x60"},
    "MigrationFrozen": {
        'migration_guard_decisions_total{migration_name="m", migration_guard_rule="suspicion", '
        'migration_guard_action="freeze"}': "1x120"
    },
    "EvidenceAgainstCandidate": {'migration_guard_evidence{migration_name="m"}': "1x60 30x60"},
    "CallsFallBackToLegacy": {
        'migration_notices_total{migration_name="m", migration_notice_kind="fell_back"}': "0x100 1+1x20"
    },
}
"""What fires, and the series that make it fire."""

WATCHED = {
    Rule.EVIDENCE: "EvidenceAgainstCandidate",
    Rule.SUSPICION: "EvidenceAgainstCandidate",
    Rule.INTEGRITY: "CandidateHarmsContents",
    Rule.NEW_KIND: "CandidateFailsInANewWay",
    Rule.ERROR_RATE: "CandidateFailsMoreOften",
    Rule.TIMEOUT_RATE: "CandidateTimesOutMoreOften",
    Rule.MEMORY_CAP: "MemoryNearlyUsedUp",
    Rule.MEMORY_GROWTH: "MemoryGrows",
    Signal.ERROR: "CandidateFailsMoreOften",
    Signal.TIMEOUT: "CandidateTimesOutMoreOften",
    Signal.MISMATCH: "SidesDiffer",
    Signal.LATENCY: "CandidateIsSlower",
    Signal.STRANGER: "CandidateFailsInANewWay",
}
"""The alert for each reason that the guard has."""


def promtool() -> str:
    found = shutil.which("promtool") or REPOSITORY / "build" / "prometheus" / "usr" / "bin" / "promtool"
    if not Path(found).exists():
        pytest.fail("no promtool found; `make test` fetches it (sh tests/install_prometheus.sh)")
    return str(found)


def check(firing: str, changed: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Have promtool say whether these alerts, and no others, fire within the last five minutes of the two hours."""
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in (HEALTHY | changed).items()],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": "110m",
                        "exp_samples": [
                            {"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(firing.split())
                        ],
                    }
                ],
            }
        ],
    }
    path = folder / "test.yml"
    path.write_text(json.dumps(test))  # JSON is YAML
    return subprocess.run(  # noqa: S603  # Prometheus' own tool
        [promtool(), "test", "rules", str(path)], text=True, capture_output=True, check=False
    )


def test_nothing_fires_while_nothing_is_wrong(tmp_path: Path) -> None:
    """Failures that both sides share, dropped comparisons and a little more memory raise no alert."""
    finished = check("", {}, tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize("firing", REASONS)
def test_each_alert_fires_for_its_reason(firing: str, tmp_path: Path) -> None:
    """And no other one does."""
    finished = check(firing, REASONS[firing], tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_every_alert_is_tested() -> None:
    """No alert is without a reason here, each says what to do, and each reason of the guard has an alert."""
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    alerts = {rule["alert"]: rule for rule in rules if "alert" in rule}
    assert {name for names in REASONS for name in names.split()} == set(alerts)
    assert {*WATCHED} == {*Rule, *Signal}
    assert {*WATCHED.values()} <= set(alerts)
    assert all(rule["labels"]["severity"] in {"page", "ticket"} for rule in alerts.values())
    assert all(rule["annotations"]["summary"] and rule["annotations"]["action"] for rule in alerts.values())
