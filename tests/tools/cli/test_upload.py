"""`shim upload` and `shim status`."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path

import pytest

from flags import FileFlagAdmin
from shim.cli.conventions import ExitCode
from tests.support.command_line import CommandLine
from tools.sandbox import FaultKind, RunningSandbox

KIMI = "async-upload-kimi"


def _held(sandbox: RunningSandbox, provider: str) -> dict[str, str]:
    return {file["id"]: file["sha256"] for file in sandbox.state()[provider]["files"]}


@pytest.mark.parametrize("provider", ["kimi", "glm"])
def test_files_arrive(
    shim_with_keys: CommandLine, sandbox: RunningSandbox, documents: list[Path], provider: str
) -> None:
    """Every file is at the provider under the id that is reported, and the command ends with 0."""
    finished = shim_with_keys("upload", *documents, "--provider", provider, "--json")
    assert finished.code == ExitCode.OK
    results = finished.document["files"]
    assert [result["file"] for result in results] == [str(path) for path in documents]
    expected = {
        result["file_id"]: hashlib.sha256(path.read_bytes()).hexdigest()
        for result, path in zip(results, documents, strict=True)
    }
    assert _held(sandbox, provider) == expected
    assert not finished.document["sandbox"]


def test_one_failure_hides_no_success(shim_with_keys: CommandLine, documents: list[Path]) -> None:
    """A file that cannot be uploaded is reported with its reason; the others are uploaded; the command ends with 1."""
    finished = shim_with_keys("upload", documents[0], "missing.txt", documents[1])
    assert finished.code == ExitCode.FAILED
    assert "failed    missing.txt  File not found: missing.txt" in finished.out
    assert finished.out.count("uploaded  ") == 2
    assert "Traceback" not in finished.err


@pytest.mark.parametrize("name", ["line\nbreak.txt", "escape\x1b[31m.txt", os.fsdecode(b"bad\xff.txt")])
def test_hostile_names_are_shown_escaped(shim_with_keys: CommandLine, documents: list[Path], name: str) -> None:
    """A name with control characters, or that is no text, neither steers the terminal nor hides another's result."""
    (shim_with_keys.folder / name).write_text("x")
    finished = shim_with_keys("upload", name, documents[0])
    lines = finished.out.splitlines()
    escaped = name.encode("unicode_escape").decode()
    assert any(escaped in line for line in lines)
    assert any(line.startswith("uploaded  ") and documents[0].name in line for line in lines)
    assert len(lines) == 3
    assert "unexpected" not in finished.err
    results = shim_with_keys("upload", "--json", name).document["files"]
    assert [result["file"] for result in results] == [name]


def test_uploads_are_routed_and_status_shows_it(
    shim_with_keys: CommandLine, documents: list[Path], flags: FileFlagAdmin
) -> None:
    """Uploads take the side that the flags say, and `shim status` counts them by side with their comparisons."""
    shim_with_keys("upload", *documents)
    flags.set_percentage(KIMI, 100)
    flags.set_percentage(f"{KIMI}.shadow", 100)
    shim_with_keys("upload", *documents[:2], "missing.txt")

    finished = shim_with_keys("status", "--json")
    assert finished.code == ExitCode.OK
    assert finished.document["flags"]["healthy"]
    kimi = next(each for each in finished.document["migrations"] if each["migration"] == KIMI)
    assert (kimi["percentage"], kimi["shadow_percentage"], kimi["reason"]) == (100, 100, "static")
    assert kimi["sides"]["legacy"]["calls"] == 3
    assert kimi["sides"]["legacy"]["errors"] == {}
    assert kimi["sides"]["candidate"]["calls"] == 3
    assert kimi["sides"]["candidate"]["errors"] == {"ValueError": 1}
    assert kimi["sides"]["candidate"]["mean_seconds"] > 0
    assert kimi["verdicts"] == {"identical": 2, "same_error": 1}
    assert kimi["last_decision"]["serve"] == "candidate"

    table = shim_with_keys("status").out
    for words in (KIMI, "100 % (static)", "ValueError 1", "identical 2"):
        assert words in table


def test_without_a_key_the_sandbox_is_used(shim: CommandLine, documents: list[Path]) -> None:
    """Without a key the command says that it uses the sandbox, and what was uploaded is known to the next command."""
    finished = shim("upload", documents[0], "--json")
    assert finished.code == ExitCode.OK
    assert "KIMI_API_KEY is not set: using the local sandbox, nothing leaves this machine" in finished.err
    assert finished.document["sandbox"]
    [result] = finished.document["files"]

    answer = shim("ask", documents[0], "Where does the harbour master live?", "--json").document
    assert answer["metadata"]["deduplicated"]
    assert answer["metadata"]["file_id"] == result["file_id"]


@pytest.mark.parametrize("percentage", [0, 100])
def test_an_interrupt_leaves_nothing_half_done(
    shim_with_keys: CommandLine, sandbox: RunningSandbox, documents: list[Path], flags: FileFlagAdmin, percentage: int
) -> None:
    """Ctrl-C begins no other file, brings those in flight to their end, says what was done, and ends with 130."""
    flags.set_percentage(KIMI, percentage)
    sandbox.inject(FaultKind.LATENCY, "kimi", "files.create", seconds=1.0, times=None)
    with shim_with_keys.start("upload", *documents, "--concurrency", 1, "--json") as process:
        sandbox.wait_for_requests("kimi", "files.create", at_least=1)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED
    document = json.loads(out)
    assert (document["uploaded"], document["not_begun"], document["interrupted"]) == (1, 2, True)
    assert _held(sandbox, "kimi").keys() == {document["files"][0]["file_id"]}
    assert "finishing 1 uploads" in err
    assert "Traceback" not in err


def test_a_second_interrupt_gives_up(
    shim_with_keys: CommandLine, sandbox: RunningSandbox, documents: list[Path], flags: FileFlagAdmin
) -> None:
    """Ctrl-C again stops waiting for the asynchronous side; the file is reported as given up."""
    flags.set_percentage(KIMI, 100)
    sandbox.inject(FaultKind.HANG, "kimi", "files.create", times=None)
    with shim_with_keys.start("upload", *documents, "--concurrency", 1, "--json") as process:
        sandbox.wait_for_requests("kimi", "files.create", at_least=1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr is not None
        assert "Ctrl-C again" in process.stderr.readline()
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED
    assert [result["status"] for result in json.loads(out)["files"]] == ["given_up", "not_begun", "not_begun"]


def test_watching_the_status(shim: CommandLine) -> None:
    """`shim status --watch --json` prints one document a line until Ctrl-C, which is its orderly end."""
    with shim.start("status", "--watch", "--json") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == ExitCode.OK
    assert err == ""
    for document in map(json.loads, lines):
        assert not document["flags"]["healthy"]
        assert "flags.json" in document["flags"]["error"]
