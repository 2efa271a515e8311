"""Rows that are really run, small ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.competition import Competition
from bench.files import Files
from bench.harness import Contender, Figure, Goal, Row, RunFailedError, Scale
from bench.machine import program
from bench.proof import Proofs
from bench.results import RowResult
from bench.running import Stage, run_once
from bench.uploading import upload_row

HERE = "tests.bench.contenders"


class Silent:
    """Shows nothing, and remembers who ran."""

    def __init__(self) -> None:
        self.order: list[str] = []

    def began(self, row: Row, runs: int) -> None:
        pass

    def running(self, row: Row, contender: Contender) -> None:
        del row
        self.order.append(contender.name)

    def ended(self, result: RowResult) -> None:
        pass


def row_of(*names: str, stalls: bool = False, **options: float) -> Row:
    contenders = tuple(Contender(name=name, entry=f"{HERE}:{name}") for name in names)
    return Row(
        name="row",
        title="A row",
        unit="calls",
        units=10,
        contenders=contenders,
        reference=names[0],
        rounds=1,
        options=options,
        stalls=stalls,
        timeout_seconds=30.0,
    )


def uploads(tmp_path: Path, *names: str, tls: bool = False) -> Row:
    return upload_row(
        Files(folder=tmp_path / "files", size=300_000, count=2),
        name="row",
        title="A row",
        contenders=[Contender(name=name, entry=f"{HERE}:{name}") for name in names],
        reference=names[0],
        goals=[Goal(contender=names[-1], figure=Figure.RATE, to=(names[0],), at_least=0.001)],
        rounds=1,
        tls=tls,
    )


def competition(stage: Stage, tmp_path: Path, *, warm_up_rounds: int = 0) -> tuple[Competition, Silent]:
    proofs = Proofs(Scale(quick=True, files=tmp_path / "files"), stage)
    reporter = Silent()
    return Competition(stage=stage, proofs=proofs, reporter=reporter, warm_up_rounds=warm_up_rounds), reporter


def test_a_tiny_row_from_start_to_end(stage: Stage, tmp_path: Path) -> None:
    """Over TLS, everybody's figures are there, and goals are judged."""
    runner, _ = competition(stage, tmp_path)
    row = uploads(tmp_path, "honest", tls=True)
    engine = Contender(name="engine", entry="bench.clients.own:engine")
    result = runner.run(replace(row, contenders=(*row.contenders, engine)))
    for name in ("honest", "engine"):
        contender = result.find(name)
        assert contender is not None
        assert contender.failure is None
        [run] = contender.runs
        assert run[Figure.RATE] == pytest.approx(0.6 / run[Figure.WALL])
        assert run[Figure.COST] == pytest.approx(run[Figure.CPU] / 0.6 * 1000)
        assert run["process_cpu_seconds"] > run[Figure.CPU] > 0
        assert run["sink_busy"] > 0
    assert [goal.reached for goal in result.goals] == [True]


def test_who_loses_a_file_is_disqualified(stage: Stage, tmp_path: Path) -> None:
    """Being quick by sending less does not pay: its goals are not measured."""
    runner, _ = competition(stage, tmp_path)
    result = runner.run(uploads(tmp_path, "honest", "forgetful"))
    [honest, forgetful] = result.contenders
    assert honest.failure is None
    assert "arrived" in str(forgetful.failure)
    assert (result.goals[0].reached, forgetful.runs) == (None, ())
    assert "forgetful" in str(result.goals[0].reason)


def test_who_sends_other_bytes_is_disqualified(stage: Stage, tmp_path: Path) -> None:
    """As many bytes as the file has are not enough."""
    runner, _ = competition(stage, tmp_path)
    [mangling] = runner.run(uploads(tmp_path, "mangling")).contenders
    assert mangling.failure == "the file that arrived is not the file that was to be sent"


def test_rounds_are_interleaved_and_begin_with_another(stage: Stage, tmp_path: Path) -> None:
    """The first round warms up; none is always first."""
    runner, reporter = competition(stage, tmp_path, warm_up_rounds=1)
    row = row_of("own_figures", "endless", seconds=0.0)
    result = runner.run(replace(row, rounds=2))
    assert reporter.order == ["own_figures", "endless", "endless", "own_figures", "own_figures", "endless"]
    assert [len(contender.runs) for contender in result.contenders] == [2, 2]


def test_figures_of_its_own_come_first(stage: Stage) -> None:
    """What `run` returns replaces what was measured, rate and cost follow from it, and NaN is left out."""
    row = row_of("own_figures")
    figures = run_once(row, row.contenders[0], stage, None)
    assert (figures[Figure.WALL], figures["p99_ms"], figures[Figure.RATE]) == (2.0, 7.0, 5.0)
    assert Figure.MEMORY not in figures


@pytest.mark.parametrize("uvloop", [False, True])
def test_stalls_and_memory_are_seen(stage: Stage, uvloop: bool) -> None:  # noqa: FBT001  # a parameter of pytest's
    """A loop that stands still for 80 ms, and 40 MiB that are held for a moment, are in the figures."""
    row = row_of("blocking", stalls=True, seconds=0.08, mebibytes=40)
    figures = run_once(row, replace(row.contenders[0], uvloop=uvloop), stage, None)
    assert figures[Figure.STALL_MAX] >= 75
    assert 35 <= figures[Figure.MEMORY] <= 60
    assert {"idle_stall_p99_ms", "idle_stall_max_ms"} <= set(figures)


def test_a_contender_that_fails_says_why(stage: Stage) -> None:
    """The last line of what it said is the reason."""
    row = row_of("failing")
    with pytest.raises(RunFailedError, match="KeyError: 'no such option'"):
        run_once(row, row.contenders[0], stage, None)


def test_a_contender_that_takes_too_long_is_ended(stage: Stage) -> None:
    """Nothing waits for ever."""
    row = replace(row_of("endless", seconds=60.0), timeout_seconds=0.5)
    with pytest.raises(RunFailedError, match=r"not done within 0\.5 s"):
        run_once(row, row.contenders[0], stage, None)


def test_who_needs_a_program_that_is_missing_is_left_out(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others run, and the reason names the program and the package."""
    monkeypatch.setenv("PATH", str(tmp_path))
    program.cache_clear()
    runner, _ = competition(stage, tmp_path)
    row = row_of("own_figures", "endless", seconds=0.0)
    needy = replace(row.contenders[1], needs="curl")
    [first, second] = runner.run(replace(row, contenders=(row.contenders[0], needy))).contenders
    assert first.failure is None
    assert "curl is missing" in str(second.failure)
    assert "Debian's curl" in str(second.failure)
