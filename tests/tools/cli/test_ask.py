"""`shim ask`."""

from __future__ import annotations

from pathlib import Path

from shim.cli.conventions import ExitCode
from tests.support.command_line import CommandLine
from tools.sandbox import RunningSandbox


def test_a_question_is_answered(shim_with_keys: CommandLine, documents: list[Path]) -> None:
    """The answer is all that standard output has; where it comes from stands on standard error."""
    finished = shim_with_keys("ask", documents[1].name, "Where does the harbour master live?", "--provider", "glm")
    assert finished.code == ExitCode.OK
    assert "The harbour master lives at the pier." in finished.out
    assert "glm took the file" in finished.err


def test_a_file_elsewhere_must_be_allowed(shim_with_keys: CommandLine, sandbox: RunningSandbox, tmp_path: Path) -> None:
    """A file outside of the current folder is refused by naming the variable that allows it; with that it is taken."""
    file = tmp_path / "elsewhere.txt"
    file.write_text("The key hangs behind the door.\n")
    refused = shim_with_keys("ask", file, "Where does the key hang?", "--json")
    assert refused.code == ExitCode.FAILED
    assert refused.document["metadata"]["error_type"] == "upload_failed"
    assert "SHIM_ALLOWED_ROOTS" in refused.err.splitlines()[-1]
    assert sandbox.state()["kimi"]["files"] == []

    allowed = CommandLine(
        folder=shim_with_keys.folder, environment=shim_with_keys.environment | {"SHIM_ALLOWED_ROOTS": str(tmp_path)}
    )
    assert "behind the door" in allowed("ask", file, "Where does the key hang?").out
