"""`shim compare`: both implementations on given files, offline, through their real clients."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from junitparser import Failure, JUnitXml

from shim.cli.conventions import CommandError, ExitCode
from tests.support.command_line import CommandLine, RunHere
from tools.cli.compare import ComparedFault
from tools.cli.compare_files import MAX_FILES, UploadEntrance, collect, generate
from tools.sandbox import FaultKind
from tools.transport import upload as multipart


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "document.txt"
    path.write_text("The harbour master lives at the pier.\n")
    return path


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The asynchronous implementation says a wrong type of every file."""
    monkeypatch.setattr(multipart, "_content_type", lambda _name: "image/gif")


def test_it_needs_no_configuration(shim: CommandLine, document: Path) -> None:
    """Without key and network, in a process of its own: each provider, each side serving, nothing is left behind."""
    finished = shim("compare", document)
    assert (finished.code, finished.err) == (ExitCode.OK, "")
    head, kimi, glm, _, summary = finished.out.splitlines()
    assert head.split() == ["file", "provider", "legacy", "serves", "candidate", "serves"]
    assert [row.split()[-3:] for row in (kimi, glm)] == [[name, "identical", "identical"] for name in ("kimi", "glm")]
    assert summary.startswith("4 comparisons: 4 identical")
    assert not Path(shim.environment["SHIM_HOME"]).exists()


def test_every_entrance_is_compared(run_here: RunHere, document: Path, tmp_path: Path) -> None:
    """The function and the tool with one file take files one by one, the tool with several takes them together."""
    other = tmp_path / "other.md"
    other.write_text("# Other\n")
    entrances = [argument for each in UploadEntrance for argument in ("--entrance", each.value)]
    found = run_here("compare", document, other, "--provider", "glm", *entrances, "--json").document
    assert found["ok"]
    seen = [(each["entrance"], each["file"], each["served"]) for each in found["comparisons"]]
    assert len(seen) == len(set(seen)) == 2 * (2 + 2 + 1)
    assert {each["verdict"] for each in found["comparisons"]} == {"identical"}
    assert ("files", "2 files in one call", "candidate") in seen


@pytest.mark.usefixtures("broken")
def test_a_defect_is_found_and_shown(run_here: RunHere, document: Path) -> None:
    """Whichever side serves, the same fields differ, so it is said once; the exit code says it too."""
    finished = run_here("compare", document, "--provider", "kimi", COLUMNS="120")
    assert finished.code == ExitCode.DIFFERENT
    lines = [" ".join(line.split()) for line in finished.out.splitlines()]
    assert any(line.endswith("kimi different different") for line in lines)
    [found] = [line for line in lines if "content-type" in line]
    assert "'text/plain'" in found
    assert "'image/gif'" in found
    assert "2 comparisons: 2 different" in lines[-1]


def test_an_error_of_one_side_is_said_alone(run_here: RunHere, document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the side which failed has no result and sent less is not listed beside its error."""

    def fail(_name: str) -> str:
        raise ZeroDivisionError("broken")

    monkeypatch.setattr(multipart, "_content_type", fail)
    finished = run_here("compare", document, "--provider", "glm", COLUMNS="120")
    assert finished.code == ExitCode.DIFFERENT
    out = " ".join(finished.out.split())  # lines are broken where the path of the document wants it
    shown, _, _ = out.partition("when legacy serves")[2].partition("when candidate serves")
    assert "RuntimeError: Failed to upload to GLM via SDK: broken" in shown
    assert "(absent)" not in shown


@pytest.mark.usefixtures("broken")
def test_a_build_server_can_read_it(run_here: RunHere, document: Path, tmp_path: Path) -> None:
    """Each comparison is a test, and each difference a line of its failure."""
    path = tmp_path / "report.xml"
    found = run_here("compare", document, "--provider", "kimi", "--junit", path, "--json")
    assert found.code == ExitCode.DIFFERENT
    assert not found.document["ok"]
    [suite] = JUnitXml.fromfile(str(path))
    assert (suite.tests, suite.failures, suite.skipped) == (2, 2, 0)
    for case, side in zip(suite, ("legacy", "candidate"), strict=True):
        assert (case.classname, case.name) == ("kimi.function", f"{document}, {side} serving")
        [failure] = case.result
        assert isinstance(failure, Failure)
        assert "image/gif" in str(failure.text)


def test_both_fail_in_the_same_way(run_here: RunHere, document: Path) -> None:
    """Under a fault of the storage both raise the same; a fault that a provider cannot have is wrong usage."""
    found = run_here("compare", document, "--fault", "storage_server_error", "--provider", "kimi", "--json").document
    assert [each["verdict"] for each in found["comparisons"]] == ["same_error", "same_error"]
    impossible = run_here("compare", document, "--fault", "error_in_success")
    assert impossible.code == ExitCode.USAGE
    assert "kimi has no fault error_in_success" in impossible.err


def test_what_was_not_compared_is_no_success(run_here: RunHere, document: Path, tmp_path: Path) -> None:
    """A comparison that is dropped ends with 1, and its reason is shown and skipped in the report."""
    path = tmp_path / "report.xml"
    finished = run_here("compare", document, "--provider", "glm", "--junit", path, SHADOW_TIMEOUT="0.001")
    assert finished.code == ExitCode.FAILED
    assert "within 0.001 s" in finished.out  # it was not finished, or did not even begin
    [suite] = JUnitXml.fromfile(str(path))
    assert suite.skipped == 2


def test_a_configured_network_is_not_used(run_here: RunHere, document: Path) -> None:
    """Providers, storage, flags server and receiver of the environment are never connected to."""
    with socket.create_server(("127.0.0.1", 0)) as real:
        real.setblocking(False)
        url = f"http://127.0.0.1:{real.getsockname()[1]}"
        finished = run_here(
            "compare", document, "--provider", "glm",
            KIMI_API_URL=url, KIMI_API_KEY="real", GLM_API_URL=url, GLM_API_KEY="real",
            SUPABASE_URL=url, SUPABASE_SERVICE_ROLE_KEY="real", UNLEASH_URL=url, UNLEASH_API_TOKEN="real",
            OTEL_EXPORTER_OTLP_ENDPOINT=url,
        )  # fmt: skip
        assert finished.code == ExitCode.OK, finished.err
        with pytest.raises(BlockingIOError):
            real.accept()


# Files


def test_folders_are_gone_through(tmp_path: Path) -> None:
    """All files below a folder, in order, but hidden ones; a file that is named is taken as it is."""
    for name in ("b/two.txt", "a.txt", ".hidden", ".git/config", "b/c/three.txt"):
        path = tmp_path / "given" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    hidden = tmp_path / "given" / ".hidden"
    found = [each.path.relative_to(tmp_path / "given") for each in collect([tmp_path / "given", hidden])]
    assert [str(path) for path in found] == ["a.txt", "b/c/three.txt", "b/two.txt", ".hidden"]


def test_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many files are refused at once."""
    assert MAX_FILES == 2000
    monkeypatch.setattr("tools.cli.compare_files.MAX_FILES", 3)
    for number in range(4):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(CommandError, match="more than 3 files"):
        collect([tmp_path])


@pytest.mark.parametrize(("arguments", "hint"), [([], "--generated 40"), (["missing.txt"], "does not exist")])
def test_nothing_to_compare_is_wrong_usage(run_here: RunHere, arguments: list[str], hint: str) -> None:
    """It says what to give, before anything is started."""
    finished = run_here("compare", *arguments)
    assert finished.code == ExitCode.USAGE
    assert hint in finished.err


def test_generated_files_are_difficult_and_always_the_same(tmp_path: Path) -> None:
    """Their sizes lie around the borders of pieces and pages, their names need escaping, and no two are alike."""
    first, again = generate(tmp_path / "1", 100), generate(tmp_path / "2", 100)
    assert [each.path.read_bytes() for each in first] == [each.path.read_bytes() for each in again]
    sizes = {each.path.stat().st_size for each in first}
    assert {0, 1, 4095, 4096, 4097, 2**20 - 1, 2**20, 2**20 + 1} <= sizes
    assert len({(each.path.name, each.path.stat().st_size) for each in first}) == 100
    names = "".join(each.path.name for each in first)
    assert all(character in names for character in '\n\t";=%\\')


def test_generated_files_are_compared(run_here: RunHere) -> None:
    """Difficult names and sizes are no difference, errors included."""
    found = run_here("compare", "--generated", "14", "--provider", "kimi", "--json").document
    assert found["ok"]
    assert len(found["comparisons"]) == 28
    assert {each["verdict"] for each in found["comparisons"]} <= {"identical", "same_error"}


def test_choices_are_those_of_the_programs_behind_them() -> None:
    """The command line offers only faults that exist."""
    kinds: Any = {each.value for each in FaultKind}
    assert {each.removeprefix("storage_") for each in ComparedFault} <= kinds
