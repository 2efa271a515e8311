"""Uploads that look the same to a provider (name, size, purpose) and are not: no caller is given another's file."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from tests.tools.journal.conftest import World, upload_on_a_loop
from tests.tools.journal.making import intent, opened
from tests.tools.protected import upload_to_kimi
from tools.journal.port import Facts, State
from tools.providers.kimi.kimi_client import send_file
from tools.sandbox import FaultKind


def upload_cut_short(world: World, content: bytes) -> dict[str, Any]:
    """Upload on the asynchronous side; the first request breaks before the provider has the file."""
    world.sandbox.inject(FaultKind.RESET_MID_BODY, "kimi", "files.create")
    return upload_on_a_loop(world.file(content), world.storage)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_of_legacys_is_not_taken(world: World) -> None:
    """An upload that lost its answer is not given the file that legacy has just made of another content."""
    upload_to_kimi(world.file(b"content"), world.storage)
    answered = upload_cut_short(world, b"another")["kimi_file_id"]
    assert {file["id"]: file["sha256"] for file in world.held}[answered] == sha256(b"another")
    assert len(world.held) == 2


@pytest.mark.parametrize(("over", "files"), [(False, 1), (True, 2)])
def test_a_file_that_may_be_of_an_upload_elsewhere_is_not_taken(world: World, *, over: bool, files: int) -> None:
    """While another process's upload of that name and size goes on, nothing is sent again, and recovery decides.

    Once that one is over, its file is known, and the upload goes on.
    """
    elsewhere = replace(intent(b"content"), account=world.settings.kimi_api_url)
    opened(world.journal, elsewhere)
    made = send_file(world.file(b"content"), "file-extract")
    if over:
        world.journal.close(elsewhere.upload_id, State.DONE, Facts(provider_file_id=made))
        assert upload_cut_short(world, b"another")["kimi_file_id"] != made
    else:
        with pytest.raises(RuntimeError, match="Connection error") as failed:
            upload_cut_short(world, b"another")
        assert failed.value.__cause__ is not None
        assert "may be of another upload" in "".join(failed.value.__cause__.__notes__)
        assert {entry.intent.sha256 for entry in world.unfinished} == {sha256(b"content"), sha256(b"another")}
    assert len(world.held) == files


def test_a_file_of_the_same_content_may_be_taken(world: World) -> None:
    """What an earlier upload of this very content may have made serves as well, and is not made twice."""
    earlier = replace(intent(b"content"), account=world.settings.kimi_api_url)
    opened(world.journal, earlier)
    made = send_file(world.file(b"content"), "file-extract")
    world.journal.close(earlier.upload_id, State.UNKNOWN, Facts(attempts=1))
    assert upload_cut_short(world, b"content")["kimi_file_id"] == made
    assert len(world.held) == 1
