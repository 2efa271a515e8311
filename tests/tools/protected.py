"""Legacy as it runs behind its declaration: protected from outside, without anything that routes calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from tools.migrations import MIGRATIONS
from tools.providers.glm import glm_files
from tools.providers.kimi import kimi_files

_BARE: dict[str, Callable[..., dict[str, Any]]] = {
    "kimi": kimi_files.upload_via_supabase_gateway_kimi,
    "glm": glm_files.upload_via_supabase_gateway_glm,
}


def protected(provider: str) -> Callable[..., dict[str, Any]]:
    """The provider's legacy upload function with the protection that its migration declares."""
    target = f"tools.providers.{provider}.{provider}_files:upload_via_supabase_gateway_{provider}"
    return MIGRATIONS[target].protect(inspect.unwrap(_BARE[provider]))


upload_to_kimi = protected("kimi")
