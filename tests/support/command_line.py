"""The command line as a person uses it: in a process of its own, with nothing configured but what the test sets."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flags import FileFlagAdmin
from shim.cli import main
from shim.cli.output import OWN_PACKAGES
from tests.support.monolith import PREFIXES
from tools.migrations import NAMES
from tools.sandbox import RunningSandbox
from tools.settings import reload_settings

_REPOSITORY = Path(__file__).parents[2]
_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        [line] = self.out.splitlines()
        return json.loads(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """`shim`, with an environment of its own."""

    folder: Path
    environment: dict[str, str]

    def __call__(self, *arguments: object) -> Finished:
        """Run a command to its end, in `folder`."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=_SECONDS)
        return Finished(code=process.returncode, out=out, err=err)

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start a command, in a process group of its own as a shell does."""
        return subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, "-m", "shim.cli", *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )


MakeCommandLine = Callable[..., CommandLine]
RunHere = Callable[..., Finished]


@pytest.fixture
def command_line(tmp_path: Path) -> MakeCommandLine:
    """Makes command lines that share one home and know these variables."""
    folder = tmp_path / "work"
    folder.mkdir()

    def make(**variables: str) -> CommandLine:
        inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        common = {"HOME": str(tmp_path), "SHIM_HOME": str(tmp_path / "home"), "PYTHONPATH": str(_REPOSITORY)}
        common["SHIM_APP"] = "tools.application:app"
        return CommandLine(folder=folder, environment=inherited | common | variables)

    return make


@pytest.fixture
def run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[RunHere]:
    """Runs commands in this process, which is quicker; with the same home, and with the variables given."""
    for name in os.environ:
        if name.startswith(PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SHIM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SHIM_APP", "tools.application:app")

    def run(*arguments: object, **variables: str) -> Finished:
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            reload_settings()
            with _logging_as_it_was():
                code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Finished(code=code, out=out, err=err)

    yield run
    reload_settings()


@contextmanager
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    changed = [root, *map(logging.getLogger, OWN_PACKAGES)]
    handlers, levels = root.handlers, [logger.level for logger in changed]
    root.handlers = []
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        root.handlers = handlers
        for logger, level in zip(changed, levels, strict=True):
            logger.setLevel(level)


@pytest.fixture
def shim(command_line: MakeCommandLine) -> CommandLine:
    """The command line with nothing configured."""
    return command_line()


@pytest.fixture
def shim_with_keys(command_line: MakeCommandLine, sandbox: RunningSandbox) -> CommandLine:
    """The command line with both providers configured; they are the test's sandbox, which the command cannot tell."""
    return command_line(
        KIMI_API_KEY=sandbox.key,
        KIMI_API_URL=sandbox.urls["kimi"],
        GLM_API_KEY=sandbox.key,
        GLM_API_URL=sandbox.urls["glm"],
    )


@pytest.fixture
def flags(tmp_path: Path) -> FileFlagAdmin:
    """The flags file of the command lines, with the flags of all migrations."""
    admin = FileFlagAdmin(tmp_path / "home" / "flags.json")
    for name in NAMES:
        admin.ensure(name)
        admin.ensure(f"{name}.shadow")
    return admin


@pytest.fixture
def documents(shim: CommandLine) -> list[Path]:
    """Three files of different contents in the folder of the commands."""
    paths = [shim.folder / f"document-{number}.txt" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_text(f"This is document number {number}.\nThe harbour master lives at the pier.\n")
    return paths
