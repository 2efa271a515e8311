"""What the services of a sandbox were asked on behalf of uploads."""

from __future__ import annotations

from typing import Any

from tools.sandbox import RunningSandbox


def upload_requests(sandbox: RunningSandbox) -> list[dict[str, Any]]:
    """All requests but those of the journal, which keeps its table in the same Supabase."""
    return [request for request in sandbox.requests() if "/upload_intents" not in request["path"]]
