"""What a provider's rate-limit answers mean: whether waiting helps. Rehearsals and both implementations go by it.

Sources: the error tables of platform.moonshot.ai and docs.z.ai; GLM's overload inside a success was seen in the wild.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

_FOR_GOOD = frozenset({"exceeded_current_quota_error", "1113"})
"""Kimi: the quota is used up; GLM: no balance. Asking again helps only after somebody has paid."""

_OVERLOADED = frozenset({"1302", "1303", "1305"})
"""GLM's codes for too many at once, too often, too much in all; the last one comes with a status of success as well."""


def refuses_for_good(status: int | None, body: bytes | str) -> bool:
    """Whether this answer is a 429 that no patience will change. Nothing was made, and nothing would be."""
    return status == HTTPStatus.TOO_MANY_REQUESTS and not _FOR_GOOD.isdisjoint(_kinds(body))


def refuses_in_success(body: bytes | str) -> bool:
    """Whether this answer with a status of success says that the provider is overloaded."""
    return not _OVERLOADED.isdisjoint(_kinds(body))


def _kinds(body: bytes | str) -> set[str]:
    """The type and code of an error, nested (`{"error": {"code": ...}}`) or flat."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return set()
    if not isinstance(parsed, Mapping):
        return set()
    error = parsed.get("error", parsed)
    return {str(error[name]) for name in ("type", "code") if name in error} if isinstance(error, Mapping) else set()
