"""Everything configured with planted keys, and every place where one could show."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from oteltap import OtelTapHttpProtobufReceiver, OtelTapHttpProtobufReceiverSettings

from tests.security.planted import CORES, VARIABLES
from tests.support.monolith import SetEnvironment
from tests.support.unleash_programs import free_port
from tests.tools.untrusted.hostile import Hostile, hostile, saying
from tests.tools.untrusted.relay import Relay, relaying
from tools.sandbox import RunningSandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """What is configured.

    Attributes:
        variables: the environment, keys included.
        home: SHIM_HOME.
        receiver: in front of a receiver of telemetry.
        unleash: a server that refuses every token.
    """

    variables: dict[str, str] = field(repr=False)
    home: Path
    receiver: Relay
    unleash: Hostile

    def telemetry(self) -> bytes:
        """What was sent to the receiver, without the one line that is to say who sends it."""
        key = CORES["OTEL_EXPORTER_OTLP_HEADERS"].encode()
        return self.receiver.all_bytes.replace(b"x-api-key: " + key + b"\r\n", b"")

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Every file under SHIM_HOME."""
        for path in self.home.rglob("*"):
            if path.is_file():
                yield str(path.relative_to(self.home)), path.read_bytes()


@pytest.fixture
async def planted(tmp_path: Path, sandbox: RunningSandbox, set_environment: SetEnvironment) -> AsyncIterator[Planted]:
    port = free_port()
    async with OtelTapHttpProtobufReceiver(OtelTapHttpProtobufReceiverSettings(http_port=port)):
        with relaying(f"http://127.0.0.1:{port}") as relay, hostile(saying(b"{}", 401)) as unleash:
            variables = VARIABLES | {
                "KIMI_API_URL": sandbox.urls["kimi"],
                "GLM_API_URL": sandbox.urls["glm"],
                "SUPABASE_URL": sandbox.supabase_url,
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{relay.server_address[1]}",
                "OTEL_EXPORTER_OTLP_TIMEOUT": "2000",
                "SHIM_HOME": str(tmp_path / "home"),
                "SHIM_ALLOWED_ROOTS": str(tmp_path),
            }
            set_environment(**variables)
            yield Planted(variables=variables, home=tmp_path / "home", receiver=relay, unleash=unleash)
