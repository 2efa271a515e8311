"""Every client verifies who it talks to, and takes certificates of one's own from the standard variables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from tests.support.monolith import SetEnvironment
from tests.tools.engine.serving import server_context
from tests.tools.untrusted.clients import CLIENTS
from tests.tools.untrusted.hostile import Hostile, hostile, saying
from tools.engine import delivery
from tools.transport import connections as pool

SAMPLE = ["upload to Kimi", "legacy find in Supabase", "question to Kimi", "question to GLM", "change a flag"]
"""One of each library: aiohttp, httpx with the Supabase client, httpx2, httpx with the SDK, requests."""

OTHERS = ["record in Supabase", "read back a live shadow", "count in Prometheus", "legacy upload to GLM"]


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "authority.pem")
    return made


@pytest.fixture
def server(authority: trustme.CA, set_environment: SetEnvironment) -> Iterator[Hostile]:
    pool.tls_context.cache_clear()
    with hostile(saying(b'{"id": "file-1", "data": []}'), tls=server_context(authority)) as running:
        set_environment(
            KIMI_API_URL=running.url,
            KIMI_API_KEY="planted-key",
            GLM_API_URL=running.url,
            GLM_API_KEY="planted-id.planted-key",
            SUPABASE_URL=running.url,
            SUPABASE_SERVICE_ROLE_KEY="sb_secret_planted-key",
        )
        yield running
    pool.tls_context.cache_clear()


@pytest.mark.parametrize("client", [*SAMPLE, *(pytest.param(name, marks=pytest.mark.thorough) for name in OTHERS)])
def test_a_server_must_prove_who_it_is(
    client: str, server: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a certificate of an unknown authority it is told nothing; the variables make the authority known."""
    monkeypatch.setattr(delivery, "_SECOND_LOOK_SECONDS", 0.0)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    path = tmp_path / "report.txt"
    path.write_text("harmless")
    with suppress(Exception):
        CLIENTS[client](server.url, path)
    assert server.asked == []
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(variable, str(tmp_path / "authority.pem"))
    pool.tls_context.cache_clear()
    with suppress(Exception):
        CLIENTS[client](server.url, path)
    assert server.asked != []
