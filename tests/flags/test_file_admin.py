"""Changing flags in a local file."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from flags import (
    AmbiguousRolloutError,
    FileFlagAdmin,
    Flag,
    FlagAdmin,
    FlagError,
    FlagFileError,
    FlagNotFoundError,
    InvalidFlagNameError,
    InvalidPercentageError,
)
from tests.flags.helpers import NAME, constraint, feature, payload, rollout

NAME_OF_FILE = r"flags\.json"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "flags.json"


@pytest.fixture
def admin(path: Path) -> FileFlagAdmin:
    return FileFlagAdmin(path)


def test_creates_a_flag(admin: FileFlagAdmin, path: Path) -> None:
    """A new flag is on with 0 % of the units; the file is private and its folder is made."""
    port: FlagAdmin = admin
    created = port.ensure(NAME)
    expected = Flag(name=NAME, enabled=True, percentage=0, stickiness="sessionId", strategies=1, description="")
    assert created == expected == port.get(NAME)
    assert path.stat().st_mode & 0o777 == 0o600
    (strategy,) = json.loads(path.read_text())["features"][0]["strategies"]
    assert strategy["parameters"] == {"rollout": "0", "stickiness": "sessionId", "groupId": NAME}


def test_ensure_leaves_what_exists(admin: FileFlagAdmin) -> None:
    """A flag that exists is left as it is, off or on."""
    admin.ensure(NAME)
    admin.set_percentage(NAME, 40)
    off = admin.turn_off(NAME, "x")
    assert admin.ensure(NAME) == off


def test_list_is_sorted_and_empty_without_a_file(admin: FileFlagAdmin) -> None:
    """Without a file there are no flags; else they come by name."""
    assert list(admin.list()) == []
    for name in ("b", "a", "a.shadow"):
        admin.ensure(name)
    assert [flag.name for flag in admin.list()] == ["a", "a.shadow", "b"]


def test_off_and_on(admin: FileFlagAdmin) -> None:
    """Turning off notes the reason, on one line and only the last one; turning on keeps the percentage alone."""
    admin.ensure(NAME)
    admin.set_percentage(NAME, 40)
    admin.turn_off(NAME, "first")
    off = admin.turn_off(NAME, "too many\nerrors")
    assert (off.enabled, off.percentage, off.description) == (False, 40, "Turned off: too many errors")
    on = admin.turn_on(NAME)
    assert (on.enabled, on.percentage, on.description) == (True, 40, "")


def test_what_people_wrote_stays(admin: FileFlagAdmin, path: Path) -> None:
    """Turning off and on again leaves the description as it was."""
    path.parent.mkdir()
    path.write_text(payload(feature(rollout("5"), description="Whom to ask: the harbour.\nSince spring.")))
    assert admin.turn_off(NAME, "it is late").description.endswith("Turned off: it is late")
    assert admin.turn_on(NAME).description == "Whom to ask: the harbour.\nSince spring."


def test_what_it_does_not_know_is_kept(admin: FileFlagAdmin, path: Path) -> None:
    """Segments, other strategies, variants and fields of later versions survive an edit."""
    path.parent.mkdir()
    targeted = rollout("100", constraints=[constraint("provider", "glm")])
    path.write_text(payload(feature(targeted, rollout("5"), novelty=[1]), segments=[{"id": 1}], future=True))
    changed = admin.set_percentage(NAME, 6)
    assert (changed.percentage, changed.strategies) == (6, 2)
    after = json.loads(path.read_text())
    assert after["features"] == [feature(targeted, rollout("6"), novelty=[1])]
    assert (after["segments"], after["future"]) == ([{"id": 1}], True)


def test_turning_on_never_means_everybody(admin: FileFlagAdmin, path: Path) -> None:
    """A flag without a strategy would be on for all: turning it on gives it a rollout of 0 %."""
    path.parent.mkdir()
    path.write_text(payload(feature(enabled=False)))
    assert admin.turn_on(NAME).percentage == 0


@pytest.mark.parametrize("percentage", [-1, 101, 33.3, 10.0, "10", None, True])
def test_only_whole_percentages(admin: FileFlagAdmin, path: Path, percentage: object) -> None:
    """Whatever Unleash would evaluate as something else is refused, and the file is not touched."""
    admin.ensure(NAME)
    before = path.read_bytes()
    with pytest.raises(InvalidPercentageError):
        admin.set_percentage(NAME, percentage)  # type: ignore[arg-type]  # wrong on purpose
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "..", ".", "a?b", "a%2fb", "a" * 101])
def test_only_names_that_fit_into_an_address(admin: FileFlagAdmin, path: Path, name: str) -> None:
    """A name that Unleash would refuse is refused here, too."""
    with pytest.raises(InvalidFlagNameError):
        admin.ensure(name)
    with pytest.raises(InvalidFlagNameError):
        admin.get(name)
    assert not path.exists()


def test_unknown_flags(admin: FileFlagAdmin) -> None:
    """Every change of a flag that does not exist says so."""
    changes: list[Callable[[], object]] = [
        lambda: admin.get(NAME),
        lambda: admin.set_percentage(NAME, 1),
        lambda: admin.turn_on(NAME),
        lambda: admin.turn_off(NAME, "x"),
    ]
    for change in changes:
        with pytest.raises(FlagNotFoundError, match=NAME):
            change()


@pytest.mark.parametrize("strategies", [(), (rollout("1", constraints=[constraint("provider", "glm")]),)])
def test_no_plain_rollout(admin: FileFlagAdmin, path: Path, strategies: tuple[dict[str, object], ...]) -> None:
    """A percentage cannot be set where there is no plain rollout."""
    path.parent.mkdir()
    path.write_text(payload(feature(*strategies)))
    assert admin.get(NAME).percentage is None
    with pytest.raises(AmbiguousRolloutError):
        admin.set_percentage(NAME, 1)


def test_rollouts_that_hash_apart_are_ambiguous(admin: FileFlagAdmin, path: Path) -> None:
    """Two shares that add up have no one percentage; two that overlap are set together."""
    path.parent.mkdir()
    path.write_text(payload(feature(rollout("1"), rollout("2", group="other"))))
    with pytest.raises(AmbiguousRolloutError):
        admin.set_percentage(NAME, 3)
    path.write_text(payload(feature(rollout("1"), rollout("2"))))
    assert admin.set_percentage(NAME, 3).percentage == 3


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"features": [1]}', b" " * (5 * 1024 * 1024 + 1)])
def test_a_broken_file_is_not_overwritten(admin: FileFlagAdmin, path: Path, content: bytes) -> None:
    """A file that cannot be read is never replaced, so that it can be repaired."""
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(FlagFileError, match=NAME_OF_FILE):
        admin.ensure(NAME)
    assert path.read_bytes() == content


def test_concurrent_edits_do_not_lose_each_other(admin: FileFlagAdmin, path: Path) -> None:
    """Several programs that edit the file at once all get their flags in, and a reader never sees half a file."""
    script = """
        import sys
        from pathlib import Path
        from flags import FileFlagAdmin
        admin = FileFlagAdmin(Path(sys.argv[1]))
        for number in range(15):
            admin.ensure(f"flag-{sys.argv[2]}-{number}")
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    running = [subprocess.Popen([*command, str(number)]) for number in range(4)]  # noqa: S603 - our own command
    while any(process.poll() is None for process in running):
        admin.list()
    assert [process.returncode for process in running] == [0] * 4
    assert len(admin.list()) == 60
    assert {entry.name for entry in path.parent.iterdir()} == {"flags.json", "flags.json.lock"}


def test_a_lock_that_is_never_released(admin: FileFlagAdmin, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that holds the lock for ever makes an edit fail, not wait for ever."""
    monkeypatch.setattr("flags.file._LOCK_SECONDS", 0.1)
    admin.ensure(NAME)
    with path.with_name("flags.json.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(FlagFileError, match="locked by another program"):
            admin.turn_on(NAME)


def test_a_link_stays_a_link(admin: FileFlagAdmin, path: Path, tmp_path: Path) -> None:
    """If the flags file is a symbolic link, what it points to is replaced."""
    path.parent.mkdir()
    path.symlink_to(tmp_path / "real.json")
    (tmp_path / "real.json").write_text(payload())
    admin.ensure(NAME)
    assert path.is_symlink()
    assert NAME in (tmp_path / "real.json").read_text()


def test_a_failing_disk_leaves_the_old_file(admin: FileFlagAdmin, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the new state cannot be made durable, the old file stays, nothing is left over, and the error is typed."""
    admin.ensure(NAME)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FlagFileError, match="No space left on device"):
        admin.set_percentage(NAME, 50)
    assert path.read_bytes() == before
    assert {entry.name for entry in path.parent.iterdir()} == {"flags.json", "flags.json.lock"}


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """A path below a file is a typed error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(FlagFileError):
        FileFlagAdmin(tmp_path / "file" / "flags.json").ensure(NAME)


def test_one_tree_of_errors() -> None:
    """Whatever goes wrong with flags can be caught as one error."""
    for error in (FlagFileError("f", "p"), FlagNotFoundError("n"), InvalidPercentageError(1), InvalidFlagNameError("")):
        assert isinstance(error, FlagError)
