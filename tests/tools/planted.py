"""Settings and environments that lead to the sandbox with planted keys, and a connection on which a byte changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tools.sandbox import RunningSandbox
from tools.settings import Settings

ROOT = Path(__file__).parents[2]


def planted_settings(sandbox: RunningSandbox, home: Path, *, supabase: bool, **changes: Any) -> Settings:
    """Settings with every service in the sandbox; without `supabase` the storage is the embedded one."""
    storage = {"supabase_url": sandbox.supabase_url, "supabase_service_role_key": "sb_secret_planted"}
    return Settings.model_validate(
        {
            "kimi_api_url": sandbox.urls["kimi"],
            "kimi_api_key": "planted-kimi-key",
            "glm_api_url": sandbox.urls["glm"],
            "glm_api_key": "planted-glm-key",
            "shim_home": home,
            **(storage if supabase else {}),
            **changes,
        }
    )


def planted_environment(settings: Settings) -> dict[str, str]:
    """The environment of a child process that reaches the same services."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "no_proxy": "127.0.0.1",
        "KIMI_API_URL": settings.kimi_api_url,
        "KIMI_API_KEY": "planted",
        "GLM_API_URL": settings.glm_api_url,
        "GLM_API_KEY": "planted",
        "SHIM_HOME": str(settings.shim_home),
        **({"SUPABASE_URL": settings.supabase_url} if settings.supabase_url else {}),
        **({"SUPABASE_SERVICE_ROLE_KEY": "planted"} if settings.supabase_url else {}),
    }


class FlippingWriter:
    """A connection on which one byte of the first `some text` changes."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._flipped = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    async def write(self, data: bytes) -> None:
        if b"some text" in data and not self._flipped:
            self._flipped = True
            data = bytes(data).replace(b"some text", b"some texT", 1)
        await self._writer.write(data)
