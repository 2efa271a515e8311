"""`shim decisions`, `explain`, `replay`, `resume`, and what `shim status` says of the guard."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

import pytest

from flags import FileFlagAdmin
from migration import Call, Decision, Reason, Side
from migration.guard import BadCall, DecisionRecord, Guard, GuardStore, Judge, Signal
from migration.model import CallSite
from shim.cli.conventions import ExitCode
from shim.wiring import policy_of
from tests.support.command_line import RunHere
from tools.migrations import NAMES

KIMI = NAMES[0]


@pytest.fixture
def store(tmp_path: Path) -> GuardStore:
    return GuardStore(tmp_path / "home" / "shim.db")


@pytest.fixture
def rolled_back(store: GuardStore) -> int:
    """The number of a rollback, decided on evidence as the guard does, and not carried out."""
    judge = Judge(KIMI)
    call = BadCall(at=1.0, signals=frozenset({Signal.ERROR}), on_candidate=True, probability=0.1, kind="timeout")
    ruling = None
    while ruling is None or ruling.action.word != "rollback":
        ruling = judge.ruling(judge.take_in(call), at=1.0, last=call)
    return store.decide(DecisionRecord.of(ruling, by="guard", problem="ConnectionError: away"), due=True)


def test_a_decision_is_listed_explained_and_replayed(run_here: RunHere, rolled_back: int) -> None:
    """In words, with its figures and a plot; computed again, it is the same."""
    assert f"{KIMI} was rolled back" in " ".join(run_here("decisions", COLUMNS="300").out.split())
    explained = run_here("explain", rolled_back).out
    assert "candidate.errors" in explained
    assert "roll back" in explained
    assert run_here("replay", rolled_back).code == ExitCode.OK
    document = run_here("explain", rolled_back, "--json").document
    assert document["evidence_over_calls"][-1] == pytest.approx(document["numbers"]["evidence"])


def test_a_record_that_was_tampered_with_does_not_replay(
    run_here: RunHere, rolled_back: int, store: GuardStore
) -> None:
    """Another figure than the calls lead to is found, and so is a rule that they do not meet."""
    for change in ("numbers = json_set(numbers, '$.evidence', 5000.0)", "rule = 'integrity'", "rule = 'error_rate'"):
        with sqlite3.connect(store.path) as database:
            [before] = database.execute("SELECT rule, numbers FROM records").fetchall()
            database.execute(f"UPDATE records SET {change}")  # noqa: S608  # one of the three above
        finished = run_here("replay", rolled_back)
        assert finished.code == ExitCode.FAILED
        assert "NOT the same" in finished.out
        with sqlite3.connect(store.path) as database:
            database.execute("UPDATE records SET rule = ?, numbers = ?", before)
    assert run_here("replay", rolled_back).code == ExitCode.OK


def test_what_an_operator_said_replays(run_here: RunHere, rolled_back: int) -> None:
    """A word follows from nothing that could come out differently, so going through all decisions finds no failure."""
    del rolled_back  # there is something to be resumed
    number = run_here("resume", KIMI, "--because", "mended", "--json").document["id"]
    replayed = run_here("replay", number, "--json")
    assert (replayed.code, replayed.document["agrees"]) == (ExitCode.OK, True)


def test_status_says_what_holds_and_what_to_do(run_here: RunHere, rolled_back: int, flags: FileFlagAdmin) -> None:
    """Rolled back, why, that the flag is still on, and the command that goes on."""
    del flags  # they exist
    guard = run_here("status", "--json").document["migrations"][0]["guard"]
    assert (guard["state"], guard["decision"]) == ("rolled back", rolled_back)
    out = run_here("status", COLUMNS="300").out
    for words in (
        "rolled back",
        "ConnectionError: away",
        "still to be turned off",
        f"shim resume {KIMI}",
        "shim audit",
    ):
        assert words in out, words
    assert run_here("resume", KIMI, "--because", "mended").code == ExitCode.OK
    guard = run_here("status", "--json").document["migrations"][0]["guard"]
    assert (guard["state"], guard["advice"]) == ("watching", None)


def test_a_damaged_file_is_said_and_hides_nothing_else(run_here: RunHere, store: GuardStore) -> None:
    """`shim status` shows the rest; `shim decisions` says what to do in one line."""
    store.path.parent.mkdir()
    store.path.write_bytes(b"garbage" * 1000)
    status = run_here("status", "--json")
    assert status.code == ExitCode.OK
    assert "move it away" in status.document["migrations"][0]["guard"]["problem"]
    decisions = run_here("decisions")
    assert decisions.code == ExitCode.FAILED
    assert "move it away" in decisions.err


def test_what_does_not_hold_cannot_be_resumed(run_here: RunHere) -> None:
    """Nor what is not declared."""
    assert "nothing to resume" in run_here("resume", KIMI, "--because", "impatient").err
    assert run_here("resume", "new-thumbnails", "--because", "x").code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("text", "named"), [("nonsense:none", "nonsense"), ("error_rate:maybe", "maybe"), ("suspicion", "suspicion")]
)
def test_a_wrong_policy_is_named_before_anything_starts(
    run_here: RunHere, tmp_path: Path, text: str, named: str
) -> None:
    """By the variable, the word, and what could stand there."""
    file = tmp_path / "a.txt"
    file.write_text("a\n")
    finished = run_here("upload", file, SHIM_GUARD_POLICY=text, KIMI_API_KEY="planted")
    assert finished.code == ExitCode.CONFIGURATION
    assert "SHIM_GUARD_POLICY" in finished.err
    assert named in finished.err


class _Always:
    """A router that sends everything to the candidate."""

    def decide(self, call: Call) -> Decision:
        """As the docstring says."""
        del call
        return Decision(serve=Side.CANDIDATE, probability=1.0, reason=Reason.STATIC)


def test_the_policy_is_what_the_guard_goes_by(store: GuardStore) -> None:
    """A rule that is switched off does nothing; one that is sharpened rolls back."""
    for text, tripped in (("new_kind:rollback", True), ("new_kind:none", False)):
        guard = Guard(_Always(), store=GuardStore(store.path.with_name(text)), policy=policy_of(text))
        call = BadCall(at=0.0, signals=frozenset({Signal.ERROR}), on_candidate=True, probability=0.5, kind="timeout")
        guard.take_in_foreign("m", call)
        assert (guard.tripped == {"m"}) is tripped
        assert guard.decide(_call()).serve is (Side.LEGACY if tripped else Side.CANDIDATE)
        guard.close()


def test_without_the_right_to_change_flags_the_record_says_so(store: GuardStore) -> None:
    """Legacy serves here; the flag is left on, and the record says who has to turn it off."""
    guard = Guard(_Always(), store=store, policy=policy_of("new_kind:rollback"))
    told: list[str] = []
    guard.tell(lambda notice: told.append(notice.text))
    call = BadCall(at=0.0, signals=frozenset({Signal.ERROR}), on_candidate=True, probability=0.5, kind="timeout")
    guard.take_in_foreign("m", call)
    guard.close()
    [record] = store.records()
    assert record.problem is not None
    assert "by hand" in record.problem
    assert record.problem in told


def _call() -> Call:
    site = CallSite(function="f", file="f.py", line=1)
    arguments: Mapping[str, object] = {}
    return Call(migration="m", function="m:f", call_id="1", args=(), kwargs=arguments, site=site)
