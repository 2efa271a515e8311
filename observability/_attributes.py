"""Translates the core's words into attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from migration import Call, Decision, Side
from observability.names import Attribute, Implementation

IMPLEMENTATIONS: Final[Mapping[Side, str]] = {
    Side.LEGACY: str(Implementation.LEGACY),
    Side.CANDIDATE: str(Implementation.ASYNC),
}
_FACTS: Final[Mapping[str, str]] = {"provider": Attribute.PROVIDER, "size_bytes": Attribute.FILE_SIZE}


def fact_attributes(call: Call) -> dict[str, str | int]:
    """Return the facts of a call under their telemetry names: dotted names stay, others are put below `upload.`."""
    return {
        _FACTS.get(name) or (name if "." in name else f"upload.{name}"): value
        for name, value in call.attributes.items()
    }


def site_attributes(call: Call) -> dict[str, str | int]:
    """Return where in the source the call was made."""
    return {
        Attribute.CODE_FUNCTION_NAME: call.site.function,
        Attribute.CODE_FILE_PATH: call.site.file,
        Attribute.CODE_LINE_NUMBER: call.site.line,
    }


def flag_attributes(call: Call, decision: Decision) -> dict[str, str | float]:
    """Return how the flag was evaluated for a call."""
    attributes: dict[str, str | float] = {
        Attribute.FLAG_KEY: call.migration,
        Attribute.FLAG_VARIANT: IMPLEMENTATIONS[decision.serve],
        Attribute.FLAG_REASON: str(decision.reason),
        Attribute.FLAG_CONTEXT_ID: call.unit,
        Attribute.PROBABILITY: decision.probability,
        Attribute.SHADOW_PROBABILITY: decision.shadow_probability,
    }
    optional = {
        Attribute.FLAG_PROVIDER_NAME: decision.source,
        Attribute.FLAG_VERSION: decision.flag_version,
        Attribute.ERROR_TYPE: decision.error,
    }
    attributes.update({name: value for name, value in optional.items() if value})
    return attributes
