"""A folder that may be asked about, a secret beside it, and both providers with the migrations in front."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import tools.async_file_upload_refactored as new
from migration import Runtime, Side, install, uninstall
from migration.testing import FixedRouter
from tests.support.monolith import SetEnvironment
from tests.tools.untrusted.relay import Relay, relaying
from tools.migrations import MIGRATIONS
from tools.sandbox import RunningSandbox
from tools.settings import get_settings

WORDS = b"the combination of the safe"
SECRET = WORDS + b" is 7-3-9-1\n" * 40_000
"""Long enough that it is read while it is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where the tests play.

    Attributes:
        root: the only folder that may be asked about.
        outside: a folder beside it.
        secret: a file in there.
    """

    root: Path
    outside: Path
    secret: Path
    sandbox: RunningSandbox
    relay: Relay

    def leaked(self) -> bool:
        """Whether a byte of the secret was sent, or stored."""
        stored = [path for path in (get_settings().shim_home / "storage").rglob("*") if path.is_file()]
        return WORDS in self.relay.all_bytes or any(WORDS in path.read_bytes() for path in stored)


@pytest.fixture
def relay(sandbox: RunningSandbox) -> Iterator[Relay]:
    with relaying(sandbox.urls["kimi"]) as running:
        yield running


@pytest.fixture
def ground(tmp_path: Path, sandbox: RunningSandbox, relay: Relay, set_environment: SetEnvironment) -> Ground:
    root, outside = tmp_path.resolve() / "allowed", tmp_path.resolve() / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "report.txt").write_bytes(SECRET)
    set_environment(
        KIMI_API_URL=relay.of(sandbox.urls["kimi"]),
        KIMI_API_KEY=sandbox.key,
        GLM_API_URL=relay.of(sandbox.urls["glm"]),
        GLM_API_KEY=sandbox.key,
        SHIM_ALLOWED_ROOTS=str(root),
    )
    return Ground(root=root, outside=outside, secret=outside / "report.txt", sandbox=sandbox, relay=relay)


@pytest.fixture(params=[Side.LEGACY, Side.CANDIDATE], ids=str)
def served(request: pytest.FixtureRequest) -> Iterator[Side]:
    """Puts every migration in front of its function, with this side serving."""
    runtime = Runtime(router=FixedRouter(serve=request.param), observers=[])
    runtime.loop.on_close(new.cleanup_http_session)
    for target, migration in MIGRATIONS.items():
        install(target, migration, runtime=runtime)
    try:
        yield request.param
    finally:
        runtime.close()
        for target in MIGRATIONS:
            uninstall(target)
