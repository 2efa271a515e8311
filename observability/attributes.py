"""Translates the core's words into attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from migration import Call, Decision, Reason, Role, Side
from observability.names import Attribute, Implementation

# Plain text: to read a member of an enum takes 0.1 µs, and a call needs forty of them.
IMPLEMENTATION: Final = Attribute.IMPLEMENTATION.value
_ROLE: Final = Attribute.ROLE.value
_FUNCTION: Final = Attribute.CODE_FUNCTION_NAME.value
_FILE: Final = Attribute.CODE_FILE_PATH.value
_LINE: Final = Attribute.CODE_LINE_NUMBER.value
_KEY: Final = Attribute.FLAG_KEY.value
_VARIANT: Final = Attribute.FLAG_VARIANT.value
_REASON: Final = Attribute.FLAG_REASON.value
_CONTEXT_ID: Final = Attribute.FLAG_CONTEXT_ID.value
_PROBABILITY: Final = Attribute.PROBABILITY.value
_SHADOW_PROBABILITY: Final = Attribute.SHADOW_PROBABILITY.value
_PROVIDER_NAME: Final = Attribute.FLAG_PROVIDER_NAME.value
_VERSION: Final = Attribute.FLAG_VERSION.value
_ERROR_TYPE: Final = Attribute.ERROR_TYPE.value

IMPLEMENTATIONS: Final[Mapping[Side, str]] = {
    Side.LEGACY: str(Implementation.LEGACY),
    Side.CANDIDATE: str(Implementation.ASYNC),
}
_ROLES: Final[Mapping[Role, str]] = {role: role.value for role in Role}
_REASONS: Final[Mapping[Reason, str]] = {reason: reason.value for reason in Reason}
_FACTS: Final[Mapping[str, str]] = {"provider": Attribute.PROVIDER.value, "size_bytes": Attribute.FILE_SIZE.value}


def fact_attributes(call: Call) -> dict[str, str | int]:
    """Return the facts of a call under their telemetry names: dotted names stay, others are put below `upload.`."""
    return {
        _FACTS.get(name) or (name if "." in name else f"upload.{name}"): value
        for name, value in call.attributes.items()
    }


def run_attributes(side: Side, role: Role) -> dict[str, str | int]:
    """Return what runs of a side are told apart by."""
    return {IMPLEMENTATION: IMPLEMENTATIONS[side], _ROLE: _ROLES[role]}


def call_attributes(call: Call, decision: Decision) -> dict[str, str | int]:
    """Return where in the source the call was made, and why it was decided as it was."""
    site = call.site
    return {_FUNCTION: site.function, _FILE: site.file, _LINE: site.line, _REASON: _REASONS[decision.reason]}


def flag_attributes(call: Call, decision: Decision) -> dict[str, str | float]:
    """Return how the flag was evaluated for a call."""
    attributes: dict[str, str | float] = {
        _KEY: call.migration,
        _VARIANT: IMPLEMENTATIONS[decision.serve],
        _REASON: _REASONS[decision.reason],
        _CONTEXT_ID: call.unit,
        _PROBABILITY: decision.probability,
        _SHADOW_PROBABILITY: decision.shadow_probability,
    }
    if decision.source:
        attributes[_PROVIDER_NAME] = decision.source
    if decision.flag_version:
        attributes[_VERSION] = decision.flag_version
    if decision.error:
        attributes[_ERROR_TYPE] = decision.error
    return attributes
