"""`shim mismatches`: what differs is seen at a glance, and one comparison in full."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from junitparser import Failure, JUnitXml, Skipped

from migration import Comparison
from migration.model import Difference, NoiseSample, Verdict
from migration.store import Ledger
from migration.threads import BackgroundThread
from shim.cli.conventions import ExitCode
from tests.migration.ledgers import DECISION, call, comparison, record
from tests.support.command_line import RunHere

LENGTH = ("requests[0].parts[1].length", "462", "461")
DIGEST = ("requests[0].parts[1].sha256", "'62b3957b'", "'d0330ba9'")
ERROR = (
    ("result.id", "'1'", "(absent)"),
    ("error.type", "(absent)", "'RuntimeError'"),
    ("error.text", "(absent)", "'Failed to upload to Kimi via SDK: 500'"),
)


@pytest.fixture
def clock() -> list[float]:
    """What time the ledger takes it for."""
    return [time.time()]


@pytest.fixture
def ledger(tmp_path: Path, clock: list[float]) -> Ledger:
    """The ledger of the command lines."""
    return Ledger(tmp_path / "home" / "shim.db", now=lambda: clock[0])


@pytest.fixture
def filled(ledger: Ledger, clock: list[float]) -> Ledger:
    """One agreement, four lost bytes, one failure, one call that was not compared; the oldest three hours old."""
    clock[0] -= 3 * 3600
    ledger.compared(comparison(Verdict.DIFFERENT, LENGTH, DIGEST))
    clock[0] += 3 * 3600
    for _ in range(3):
        ledger.compared(comparison(Verdict.DIFFERENT, LENGTH, DIGEST))
    ledger.compared(comparison(Verdict.IDENTICAL))
    ledger.compared(comparison(Verdict.CANDIDATE_ERROR, *ERROR, function="pkg:g"))
    ledger.compared(comparison(Verdict.DROPPED, detail="64 shadows are already waiting"))
    assert ledger.flush()
    return ledger


@pytest.mark.usefixtures("filled")
def test_what_differs_is_grouped_by_cause(run_here: RunHere) -> None:
    """A cause is a few lines: how often, where, in which fields with which values, since when, and an example."""
    finished = run_here("mismatches", COLUMNS="120")
    assert (finished.code, finished.err) == (ExitCode.OK, "")
    lines = [line.strip() for line in finished.out.splitlines()]
    assert (
        lines[0]
        == "5 of 6 comparisons found that the two sides differ; not compared: 1 dropped; --verdict dropped says why"
    )
    assert lines[2] == "4 different  f"
    assert lines[3].startswith("last 0 s ago, first 3 h ago; shim mismatches show 4")
    assert lines[4].split() == ["field", "differs", "in", "legacy", "candidate"]
    assert lines[5].split() == ["requests[*].parts[*].length", "value", "462", "461"]
    assert lines[6].split() == ["requests[*].parts[*].sha256", "value", "'62b3957b'", "'d0330ba9'"]
    assert lines[8] == "1 candidate_error  g"
    assert lines[11].split(maxsplit=4)[:4] == ["error.type", "error", "(no", "error)"]
    assert "RuntimeError: Failed to upload to Kimi via SDK: 500" in " ".join(lines[11:])


@pytest.mark.usefixtures("filled")
def test_a_narrow_terminal_loses_nothing(run_here: RunHere) -> None:
    """The names of the fields stay whole."""
    out = run_here("mismatches", COLUMNS="60").out
    assert "requests[*].parts[*].sha256" in out


@pytest.mark.usefixtures("filled")
def test_the_list_can_be_narrowed(run_here: RunHere) -> None:
    """By migration, age, verdict and number; without groups each comparison is a row."""
    assert run_here("mismatches", "--since", "2h", "--json").document["causes"][0]["count"] == 3
    assert run_here("mismatches", "another", "--json").document == {"verdicts": {}, "causes": []}
    [dropped] = run_here("mismatches", "--verdict", "dropped", "--json").document["causes"]
    assert dropped["detail"] == "64 shadows are already waiting"
    assert "64 shadows are already waiting" in run_here("mismatches", "--verdict", "dropped").out
    out = run_here("mismatches", "list", "--each", "--limit", "2", COLUMNS="120").out
    assert [line.split()[0] for line in out.splitlines()[2:] if line[:1].isdigit()] == ["6", "4"]
    assert "and 3 more" in out
    assert len(run_here("mismatches", "--each", "--json").document["comparisons"]) == 5


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], ExitCode.OK),
        (["--check"], ExitCode.DIFFERENT),
        (["--check", "--since", "2h"], ExitCode.DIFFERENT),
        (["--check", "another"], ExitCode.OK),
        (["--check", "--verdict", "legacy_error"], ExitCode.OK),
    ],
)
def test_the_exit_code_tells_only_when_asked(run_here: RunHere, arguments: list[str], code: ExitCode) -> None:
    """With `--check` it says whether anything is listed."""
    assert run_here("mismatches", *arguments).code == code


@pytest.mark.parametrize("since", ["2", "h", "2 h", "-1h", "2w", "9999999h"])
def test_a_wrong_time_is_explained(run_here: RunHere, since: str) -> None:
    """It says which forms there are."""
    finished = run_here("mismatches", f"--since={since}")
    assert finished.code == ExitCode.USAGE
    assert "as in 24h" in finished.err


def test_without_comparisons_it_says_how_to_get_some(run_here: RunHere) -> None:
    """An empty record is no good news: the next command is named."""
    finished = run_here("mismatches", "async-upload-kimi")
    assert finished.code == ExitCode.OK
    assert "shim flags set async-upload-kimi.shadow 20" in finished.err
    assert "shim compare FILE" in finished.err
    assert run_here("mismatches", "--check").code == ExitCode.OK


def test_agreement_is_good_news(run_here: RunHere, ledger: Ledger) -> None:
    """It is said in one line."""
    ledger.compared(comparison(Verdict.IDENTICAL))
    assert ledger.flush()
    assert run_here("mismatches").out.strip() == "1 comparisons, and the two sides never differed"


def test_nothing_compared_is_no_good_news(run_here: RunHere, ledger: Ledger) -> None:
    """When every sampled call was dropped, nothing is said about the two sides."""
    ledger.compared(comparison(Verdict.DROPPED, detail="not finished within 60 s"))
    assert ledger.flush()
    assert run_here("mismatches", COLUMNS="100").out.startswith("no call could be compared; not compared: 1 dropped")


def test_one_comparison_in_full(run_here: RunHere, ledger: Ledger) -> None:
    """Both sides next to each other, field by field, and all that is known of the call."""
    attributes: dict[str, str | int] = {"upload.provider": "kimi", "file.size": 462}
    ledger.compared(
        Comparison(
            call=call("pkg.mod:f", **attributes),
            decision=DECISION,
            verdict=Verdict.DIFFERENT,
            differences=tuple(Difference(field=name, legacy=old, candidate=new) for name, old, new in (LENGTH, DIGEST)),
            noisy=(DIGEST[0],),
            masked=("result[0].at", "result[1].at"),
            unused_masks=("result.gone",),
            primary_seconds=0.15,
            shadow_seconds=0.03,
            primary_trace=f"00-{'a' * 32}-{'b' * 16}-03",
            shadow_trace=f"00-{'c' * 32}-{'d' * 16}-02",
        )
    )
    assert ledger.flush()
    finished = run_here("mismatches", "show", "1", COLUMNS="120")
    lines = [" ".join(line.split()) for line in finished.out.splitlines()]
    assert lines[0] == "Comparison 1: different"
    for line in (
        "function pkg.mod:f",
        "flag m, version v1",
        "call upload.provider=kimi file.size=462",
        "call id u",
        f"served by candidate, 150 ms, trace {'a' * 32}",
        f"by replay legacy, 30 ms, trace {'c' * 32} (not sampled)",
        "masked result[*].at",
        "unused masks result.gone",
        "requests[0].parts[1].length 462 461",
        "requests[0].parts[1].sha256 (noise) '62b3957b' 'd0330ba9'",
    ):
        assert line in lines
    document = run_here("mismatches", "show", "1", "--json").document
    assert (document["call_id"], document["differences"][0]["candidate"]) == ("u", "461")


def test_a_comparison_that_is_not_there(run_here: RunHere) -> None:
    """Its number is named, and where numbers come from."""
    finished = run_here("mismatches", "show", "7")
    assert finished.code == ExitCode.FAILED
    assert "no comparison 7" in finished.err


@pytest.mark.usefixtures("filled")
def test_a_build_server_can_read_it(run_here: RunHere, tmp_path: Path) -> None:
    """A cause is a failed test, what was not compared a skipped one, the agreements one that passed."""
    path = tmp_path / "report.xml"
    assert run_here("mismatches", "--junit", path).code == ExitCode.OK
    [suite] = JUnitXml.fromfile(str(path))
    assert (suite.tests, suite.failures, suite.skipped, suite.errors) == (4, 2, 1, 0)
    lost, failed, dropped, agreed = list(suite)
    [failure] = lost.result
    assert isinstance(failure, Failure)
    assert (lost.classname, lost.name) == (
        "pkg.f",
        "different: requests[*].parts[*].length, requests[*].parts[*].sha256",
    )
    assert "4 comparisons" in str(failure.message)
    assert "legacy 462, candidate 461" in str(failure.text)
    assert failed.name == "candidate_error: error.type"
    assert isinstance(dropped.result[0], Skipped)
    assert (agreed.name, agreed.result) == ("1 identical", [])


def test_hostile_names_break_neither_terminal_nor_report(run_here: RunHere, ledger: Ledger, tmp_path: Path) -> None:
    """Control characters and half characters come out as escapes."""
    ledger.compared(comparison(Verdict.DIFFERENT, ("result.'\x1b[2J\ud800'", "'\x00'", "'\x1b]0;x\x07'")))
    assert ledger.flush()
    path = tmp_path / "report.xml"
    for arguments in ([], ["--each"], ["--junit", path], ["show", "1"]):
        assert "\x1b" not in run_here("mismatches", *arguments).out
    [suite] = JUnitXml.fromfile(str(path))
    assert r"\x1b[2J" in str(next(iter(suite)).name)


def test_a_report_that_cannot_be_written(run_here: RunHere, tmp_path: Path) -> None:
    """The path is named."""
    finished = run_here("mismatches", "--junit", tmp_path / "no" / "report.xml")
    assert finished.code == ExitCode.FAILED
    assert "report.xml cannot be written" in finished.err


def test_noise_is_shown(run_here: RunHere, ledger: Ledger) -> None:
    """For each field that ever differed, how often which side did, and what that amounts to."""
    assert "SHADOW_NOISE_SHARE" in run_here("mismatches", "--noise").err
    sample = NoiseSample(candidate=("result.at", "result.size"), legacy=("result.at",))
    for _ in range(40):
        ledger.compared(Comparison(call=call(), decision=DECISION, verdict=Verdict.DIFFERENT, noise=sample))
    assert ledger.flush()
    lines = [line.split() for line in run_here("mismatches", "m", "--noise", COLUMNS="120").out.splitlines()]
    assert ["m:", "legacy", "ran", "twice", "in", "40", "calls"] in lines
    assert ["result.at", "noise", "0", "0", "40", "f"] in lines
    assert ["result.size", "mismatch", "40", "0", "0", "f"] in lines
    [report] = run_here("mismatches", "--noise", "--json").document["reports"]
    assert report["samples"] == 40


def test_a_broken_ledger_is_one_line(run_here: RunHere, tmp_path: Path) -> None:
    """It names the file and what to do."""
    path = tmp_path / "home" / "shim.db"
    path.parent.mkdir()
    path.write_bytes(b"this is not a database" * 1000)
    finished = run_here("mismatches")
    assert finished.code == ExitCode.FAILED
    [line] = finished.err.splitlines()
    assert "file is not a database; move it away" in line


def test_lost_records_are_shown(run_here: RunHere, ledger: Ledger) -> None:
    """`shim status` says that the record has gaps."""
    assert run_here("status", "--json").document["lost"] is None
    record(ledger, None, size=1)
    ledger.compared(Comparison(call=call(n=1), decision=DECISION, verdict=Verdict.IDENTICAL, primary_seconds=10**400))
    assert ledger.flush()
    assert ledger.flush()
    assert ledger.lost == 1
    assert run_here("status", "--json").document["lost"]["records"] == 1
    assert "ledger: 1 records were lost" in run_here("status").out


def test_threads_that_died_are_shown(run_here: RunHere, ledger: Ledger) -> None:
    """`shim status` says which background thread of any process died, and why."""
    assert run_here("status", "--json").document["threads"] == []
    failures = [MemoryError("no room")]

    def work() -> None:
        if failures:
            raise failures.pop()

    thread = BackgroundThread(work, name="a-thread")
    thread.start()
    thread.join(5)
    record(ledger, None, size=1)
    assert ledger.flush()
    [told] = [each for each in run_here("status", "--json").document["threads"] if each["thread"] == "a-thread"]
    assert (told["died"], told["problem"]) == (1, "MemoryError: no room")
    assert "thread a-thread: refused 0 times, died 1 times" in run_here("status", COLUMNS="200").out
