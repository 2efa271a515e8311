"""Settings with which everything stays on this machine."""

from __future__ import annotations

from pydantic import SecretStr

from tools.sandbox import RunningSandbox
from tools.settings import Settings


def sandboxed(settings: Settings, sandbox: RunningSandbox) -> Settings:
    """The settings with every service in the sandbox, and an embedded storage of its own beside the sandbox's state."""
    key = SecretStr(sandbox.key)
    return settings.model_copy(
        update={
            "kimi_api_key": key,
            "kimi_api_url": sandbox.kimi_url,
            "glm_api_key": key,
            "glm_api_url": sandbox.glm_url,
            "supabase_url": None,
            "supabase_service_role_key": None,
            "shim_home": sandbox.home,
        }
    )
