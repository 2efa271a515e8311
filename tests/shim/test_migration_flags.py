"""The flags of a migration as the guard and a rollout change them, and what they say of a flag that is gone."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from flags import FileFlagAdmin, Flag, FlagNotFoundError
from migration.guard import FlagGoneError
from migration.rollout import Exposure
from shim.wiring import MigrationFlags
from tests.support.unleash import UnleashServer

CHANGES: dict[str, Callable[[MigrationFlags, str], object]] = {
    "turn_off": lambda flags, name: flags.turn_off(name, because="a test"),
    "set": lambda flags, name: flags.set(name, Exposure(1)),
    "close": lambda flags, name: flags.close(name, because="a test"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_flag_that_was_never_made_is_gone(tmp_path: Path, change: str) -> None:
    """No attempt can succeed, so the caller is told to end, not to try again."""
    flags = MigrationFlags(lambda: FileFlagAdmin(tmp_path / "flags.json"))
    with pytest.raises(FlagGoneError, match="there is no flag m"):
        CHANGES[change](flags, "m")


def test_an_archived_flag_is_gone(unleash_server: UnleashServer) -> None:
    """Unleash keeps an archived flag's name: no change of it succeeds, not even creating it again."""
    name = f"archived-{uuid.uuid4().hex}"
    admin = unleash_server.admin
    for flag in (name, f"{name}.shadow"):
        admin.ensure(flag)
        requests.delete(
            f"{unleash_server.url}/api/admin/projects/default/features/{flag}",
            headers={"Authorization": unleash_server.admin_token},
            timeout=10,
        ).raise_for_status()
    flags = MigrationFlags(lambda: admin)
    opening: dict[str, Callable[[MigrationFlags, str], object]] = {
        "open": lambda flags, name: flags.open(name, Exposure(1)),
        "compare_more": lambda flags, name: flags.compare_more(name, percent=50, because="a test"),
    }
    for change in (CHANGES | opening).values():
        with pytest.raises(FlagGoneError, match=f"there is no flag {name}"):
            change(flags, name)


class RestartingAdmin(FileFlagAdmin):
    """A server behind a proxy that answers 404 for one flag, and lists it again a moment later."""

    def turn_off(self, name: str, reason: str) -> Flag:
        del reason
        raise FlagNotFoundError(name)


def test_a_flag_that_is_listed_is_not_gone(tmp_path: Path) -> None:
    """A 404 while the server restarts must not end the attempts to turn a flag off."""
    admin = RestartingAdmin(tmp_path / "flags.json")
    admin.ensure("m")
    with pytest.raises(FlagNotFoundError):
        MigrationFlags(lambda: admin).turn_off("m", because="a test")
