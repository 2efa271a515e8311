"""Too few descriptors, no room on the disk: calls fail with a reason or go well, and nothing is lost or doubled."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flags import FileFlagAdmin
from tests.tools.weather.test_many import ROOT, environment
from tools.sandbox import RunningSandbox

SIDES = pytest.mark.parametrize("percentage", [0, 100], ids=["legacy", "async"])


def outcomes(sandbox: RunningSandbox, folder: Path, limit: str, number: int, **variables: Any) -> dict[str, list[str]]:
    """What the callers of such a process got."""
    finished = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-m", "tests.tools.limits.scarce", str(folder), limit, str(number)],
        cwd=ROOT,
        env=environment(sandbox, folder / "home") | variables,
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr.decode()[-3000:]
    found: dict[str, list[str]] = json.loads(finished.stdout)["outcomes"]
    return found


@pytest.fixture
def route(tmp_path: Path) -> Callable[[int], None]:
    """Sets the share of the asynchronous side."""

    def at(percentage: int) -> None:
        flags = FileFlagAdmin(tmp_path / "home" / "flags.json")
        for name in ("async-upload-kimi", "async-upload-glm"):
            flags.ensure(name)
            flags.set_percentage(name, percentage)

    return at


def assert_nothing_lost_or_doubled(sandbox: RunningSandbox, found: dict[str, list[str]]) -> int:
    """The providers hold what was answered, each once; how many that is."""
    held = [file for kind in ("kimi", "glm") for file in sandbox.state()[kind]["files"]]
    assert sorted(file["id"] for file in held) == sorted(text for kind, text in found.values() if kind == "answered")
    assert set(Counter(file["filename"] for file in held).values()) <= {1}
    assert found["before-0"][0] == found["after-0"][0] == "answered"
    return len(held)


@SIDES
@pytest.mark.parametrize("spare", [0, 3, 12, 40])
def test_without_descriptors_nothing_is_lost(
    sandbox: RunningSandbox,
    tmp_path: Path,
    route: Callable[[int], None],
    say: Callable[[str], None],
    percentage: int,
    *,
    spare: int,
) -> None:
    """With so few descriptors that files and connections cannot be opened, calls fail cleanly; later ones go well."""
    route(percentage)
    found = outcomes(sandbox, tmp_path, "descriptors", spare)
    held = assert_nothing_lost_or_doubled(sandbox, found)
    kinds = Counter(kind for kind, _ in found.values())
    assert set(kinds) <= {"answered", "RuntimeError", "OSError"}
    say(f"{len(found)} uploads, 60 of them with {spare} spare descriptors: {dict(kinds)}, {held} files held")


@SIDES
def test_on_a_full_disk_uploads_go_on(
    sandbox: RunningSandbox, tmp_path: Path, route: Callable[[int], None], say: Callable[[str], None], percentage: int
) -> None:
    """Where no file may grow, and copies go to Supabase, neither ledger nor guard nor journal keeps a call back."""
    route(percentage)
    found = outcomes(
        sandbox,
        tmp_path,
        "bytes",
        0,
        SUPABASE_URL=sandbox.supabase_url,
        SUPABASE_SERVICE_ROLE_KEY="sb_secret_planted",
    )
    held = assert_nothing_lost_or_doubled(sandbox, found)
    kinds = Counter(kind for kind, _ in found.values())
    say(f"{len(found)} uploads, 60 of them on a full disk: {dict(kinds)}, {held} files held")
    assert kinds == {"answered": len(found)}


@SIDES
def test_without_a_folder_for_the_state_uploads_go_on(
    sandbox: RunningSandbox, tmp_path: Path, route: Callable[[int], None], percentage: int
) -> None:
    """Where `SHIM_HOME` can be neither made nor written to, nothing is remembered, and every call is served."""
    route(percentage)
    (tmp_path / "in the way").write_text("a file")
    found = outcomes(
        sandbox,
        tmp_path,
        "bytes",
        1_000_000,
        SHIM_HOME=str(tmp_path / "in the way" / "home"),
        UNLEASH_FLAGS_FILE=str(tmp_path / "home" / "flags.json"),
        SUPABASE_URL=sandbox.supabase_url,
        SUPABASE_SERVICE_ROLE_KEY="sb_secret_planted",
    )
    assert assert_nothing_lost_or_doubled(sandbox, found) == len(found)
