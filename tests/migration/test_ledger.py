"""The ledger records what happened on this machine, and answers questions about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration import Comparison, Migration, Runtime, Side, migrate
from migration.model import Difference, NoiseSample, Notice, NoticeKind, Operation, Role, Verdict
from migration.store import Ledger
from migration.testing import FixedRouter
from tests.migration.ledgers import DECISION, call, compare, record


def test_runs_are_counted_by_side_and_error(ledger: Ledger) -> None:
    """Calls, seconds and bytes by side; failures by type, without their bytes; shadows are not calls."""
    record(ledger, Side.LEGACY)
    record(ledger, Side.LEGACY, size=5)
    record(ledger, Side.CANDIDATE)
    record(ledger, Side.CANDIDATE, ValueError("a"))
    record(ledger, Side.CANDIDATE, ValueError("b"))
    record(ledger, Side.CANDIDATE, OSError("c"))
    record(ledger, Side.LEGACY, role=Role.SHADOW)
    assert ledger.flush()
    standing = ledger.status("m")
    legacy, candidate = standing.sides[Side.LEGACY], standing.sides[Side.CANDIDATE]
    assert (legacy.calls, legacy.seconds, legacy.bytes, legacy.errors) == (2, 1.0, 15, {})
    assert (candidate.calls, candidate.bytes) == (4, 10)
    assert candidate.errors == {"ValueError": 2, "OSError": 1}
    assert (legacy.mean_seconds, candidate.mean_seconds) == (0.5, 0.5)


def test_the_last_decision_is_remembered(ledger: Ledger) -> None:
    """With its reason, its probabilities and the version of the flag."""
    record(ledger, None)
    assert ledger.flush()
    decision = ledger.status("m").decision
    assert decision is not None
    assert (decision["at"], decision["serve"], decision["shadow"]) == (1000.0, "candidate", 0)
    assert (decision["probability"], decision["shadow_probability"]) == (0.25, 0.5)
    assert (decision["reason"], decision["source"], decision["flag_version"]) == ("split", "file", "v1")


def test_comparisons_are_kept_newest_first(ledger: Ledger) -> None:
    """With their differences and what the declaration shows of the call, never its arguments."""
    compare(ledger)
    ledger.compared(
        Comparison(
            call=call(provider="kimi"),
            decision=DECISION,
            verdict=Verdict.DIFFERENT,
            differences=(Difference(field="result.id", legacy="1", candidate="2"),),
            masked=("result[0].at", "result[1].at"),
            primary_seconds=0.1,
            shadow_seconds=0.2,
            primary_trace="a",
            shadow_trace="b",
        )
    )
    assert ledger.flush()
    newest, oldest = ledger.comparisons("m")
    assert (oldest.verdict, newest.verdict) == (Verdict.IDENTICAL, Verdict.DIFFERENT)
    assert newest.differences == (Difference(field="result.id", legacy="1", candidate="2"),)
    assert (newest.masked, newest.attributes) == (("result[*].at",), {"provider": "kimi"})
    assert (newest.function, newest.call_id, newest.primary_side) == ("pkg:f", "u", Side.CANDIDATE)
    assert (newest.at, newest.flag_version, newest.mode) == (1000.0, "v1", "replay")
    assert (newest.primary_seconds, newest.shadow_seconds) == (0.1, 0.2)
    assert (newest.primary_trace, newest.shadow_trace) == ("a", "b")
    assert "SECRET" not in repr(newest)
    assert ledger.comparison(newest.id) == newest
    assert ledger.comparison(99) is None
    assert ledger.verdicts() == ledger.status("m").verdicts == {"identical": 1, "different": 1}


def test_comparisons_can_be_chosen(path: Path) -> None:
    """By migration, verdict, age and number."""
    clock = iter(range(1, 1000))
    ledger = Ledger(path, now=lambda: float(next(clock)))
    for verdict in (Verdict.IDENTICAL, Verdict.DIFFERENT, Verdict.DROPPED, Verdict.DIFFERENT):
        compare(ledger, verdict)
    assert ledger.flush()
    newest_first = [each.id for each in ledger.comparisons()]
    assert newest_first == [4, 3, 2, 1]
    assert ledger.comparisons("another") == []
    assert [each.id for each in ledger.comparisons("m", limit=1)] == [4]
    assert [each.id for each in ledger.comparisons(verdicts=[Verdict.DIFFERENT])] == [4, 2]
    assert [each.id for each in ledger.comparisons(verdicts=[Verdict.DIFFERENT, Verdict.DROPPED], limit=2)] == [4, 3]
    assert [each.id for each in ledger.comparisons(since=3.0)] == [4, 3]
    assert ledger.verdicts(since=3.0) == {"dropped": 1, "different": 1}
    assert ledger.verdicts("another") == {}


def test_what_was_learned_about_noise_is_kept(ledger: Ledger) -> None:
    """Samples come back in the order in which they were taken, each with its function, for who learns from them."""
    samples = [
        NoiseSample(candidate=("result.a", "result.b"), legacy=()),
        NoiseSample(candidate=(), legacy=("result.a",)),
    ]
    for sample in samples:
        ledger.compared(
            Comparison(
                call=call(),
                decision=DECISION,
                verdict=Verdict.DIFFERENT,
                noise=sample,
                noisy=("result.a",),
                unused_masks=("result.gone",),
            )
        )
        compare(ledger)
    assert ledger.flush()
    assert ledger.noise_samples("m") == [("pkg:f", sample) for sample in samples]
    assert ledger.noise_samples("another") == []
    assert ledger.migrations() == ["m"]
    [newest, _] = ledger.comparisons(verdicts=[Verdict.DIFFERENT])
    assert (newest.noisy, newest.unused_masks) == (("result.a",), ("result.gone",))


def test_a_migration_is_known_before_anything_is_compared(ledger: Ledger) -> None:
    """By a decision, a call or a comparison; each is named once."""
    assert ledger.migrations() == []
    record(ledger, None)
    assert ledger.flush()
    assert ledger.migrations() == ["m"]
    record(ledger, Side.LEGACY)
    compare(ledger)
    assert ledger.flush()
    assert ledger.migrations() == ["m"]


def test_notices_are_counted_by_kind(ledger: Ledger) -> None:
    """An operator sees how often calls fell back."""
    for kind in (NoticeKind.FELL_BACK, NoticeKind.FELL_BACK, NoticeKind.BLOCKED_EVENT_LOOP):
        ledger.noticed(Notice(kind=kind, migration="m", text="text"))
    assert ledger.flush()
    assert ledger.status("m").notices == {"fell_back": 2, "blocked_event_loop": 1}


def test_an_interrupted_run_is_not_counted(ledger: Ledger) -> None:
    """A run without an outcome is neither a success nor an error."""
    with (
        pytest.raises(KeyboardInterrupt),
        ledger.operation(Operation(call=call(), decision=DECISION, side=Side.LEGACY)),
    ):
        raise KeyboardInterrupt
    assert ledger.flush()
    assert ledger.status("m").sides[Side.LEGACY].calls == 0


def test_calls_through_a_shim_are_recorded(ledger: Ledger, router: FixedRouter) -> None:
    """As an observer of a runtime it counts a failed candidate and the legacy run that served instead."""
    runtime = Runtime(router=router, observers=[ledger])
    f = migrate(Migration(name="m", candidate="no.such:thing"), runtime=runtime)(lambda: "old")
    router.serve = Side.CANDIDATE
    assert f() == "old"
    assert ledger.flush()
    standing = ledger.status("m")
    assert standing.sides[Side.CANDIDATE].errors == {"CandidateUnavailableError": 1}
    assert (standing.sides[Side.LEGACY].calls, standing.sides[Side.LEGACY].errors) == (1, {})
    assert standing.notices == {"candidate_unavailable": 1}
    runtime.close()
