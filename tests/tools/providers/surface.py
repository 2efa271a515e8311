"""The providers' public surface, side by side, and what is to be expected of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tools.providers.glm import glm_files
from tools.providers.kimi import kimi_files
from tools.providers.upload_tool import UploadTool
from tools.sandbox import RunningSandbox
from tools.storage.port import ProviderName


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider."""

    name: ProviderName
    label: str
    purpose: str
    upload: Callable[..., dict[str, Any]]
    function_name: str
    module: object
    tool: type[UploadTool]

    def files(self, sandbox: RunningSandbox) -> list[dict[str, Any]]:
        """What the provider really has."""
        return list(sandbox.state()[self.name]["files"])


PROVIDERS = {
    "kimi": Provider(
        name="kimi",
        label="Kimi",
        purpose="file-extract",
        upload=kimi_files.upload_via_supabase_gateway_kimi,
        function_name="upload_via_supabase_gateway_kimi",
        module=kimi_files,
        tool=kimi_files.KimiUploadFilesTool,
    ),
    "glm": Provider(
        name="glm",
        label="GLM",
        purpose="agent",
        upload=glm_files.upload_via_supabase_gateway_glm,
        function_name="upload_via_supabase_gateway_glm",
        module=glm_files,
        tool=glm_files.GLMUploadFileTool,
    ),
}
