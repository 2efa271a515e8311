"""A server sends clients elsewhere: to a second, real server, which must never see a key."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from tests.security.planted import VARIABLES, seen_in
from tests.support.monolith import SetEnvironment
from tests.tools.untrusted.clients import CLIENTS, EVERY_CLIENT
from tests.tools.untrusted.hostile import hostile, saying
from tools.engine import delivery


@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize("client", EVERY_CLIENT)
def test_no_key_follows_a_redirect(
    client: str, status: int, tmp_path: Path, set_environment: SetEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that follows it (openai's does) leaves the key behind; the others do not even go there."""
    monkeypatch.setattr(delivery, "_SECOND_LOOK_SECONDS", 0.0)
    path = tmp_path / "report.txt"
    path.write_text("harmless")
    with (
        hostile(saying(b'{"id": "file-1", "data": []}')) as elsewhere,
        hostile(saying(b"", status, Location=f"{elsewhere.url}/elsewhere")) as server,
    ):
        planted = {name: VARIABLES[name] for name in ("KIMI_API_KEY", "GLM_API_KEY", "SUPABASE_SERVICE_ROLE_KEY")}
        set_environment(KIMI_API_URL=server.url, GLM_API_URL=server.url, SUPABASE_URL=server.url, **planted)
        with suppress(Exception):  # refusing is right
            CLIENTS[client](server.url, path)
        assert server.asked
        assert [seen_in(heard) for heard in elsewhere.heard if seen_in(heard)] == []
        assert not any(b"planted-key" in heard for heard in elsewhere.heard)
        if "Kimi" not in client or client == "upload to Kimi":
            assert elsewhere.asked == []
