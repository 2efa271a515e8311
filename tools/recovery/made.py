"""What a run of the new implementation has made, as its result says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from migration import Operation


def things_made(operation: Operation) -> Sequence[Mapping[str, str]]:
    """The files that a successful upload has made: `provider`, `file_id`, and `object_id` where the result names it.

    No names of files: those stand in the tracking table, and there only.
    """
    provider = str(operation.call.attributes.get("upload.provider", ""))
    result = None if operation.outcome is None else operation.outcome.value
    entries = result if isinstance(result, list) else [result]
    return [_thing(provider, entry) for entry in entries if isinstance(entry, dict) and not entry.get("deduplicated")]


def _thing(provider: str, entry: Mapping[str, Any]) -> Mapping[str, str]:
    thing = {"provider": provider, "file_id": str(entry.get(f"{provider}_file_id") or entry.get("file_id"))}
    object_id = entry.get("supabase_file_id")
    return thing if object_id is None else {**thing, "object_id": str(object_id)}
