"""What Unleash's client API answers (`/api/client/features`), read and checked once."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from flags.errors import (
    FlagDefinitionsError,
    FlagError,
    InvalidPercentageError,
    NoStrategyError,
    UnknownStrategyError,
)

MAX_BYTES = 5 * 1024 * 1024
"""Definitions larger than this are refused; a thousand flags take about half a megabyte."""

Json: TypeAlias = dict[str, Any]

BUCKET = "bucket"
"""Context field with a number that is uniform over the units of a migration, for shares below one percent."""

BUCKETS = 10_000
"""The numbers are 0 to 9999."""

INSTANCE = "instance"
"""Context field with the name of the process, or of the machine, that makes the call."""

MOST_CUTS = 100
"""Places at which a flag's evaluation may change over the buckets; with more of them a bucket is taken as given."""

_COMPARES_NUMBERS = {"NUM_EQ", "NUM_LT", "NUM_LTE", "NUM_GT", "NUM_GTE", "IN", "NOT_IN"}

_PERCENTAGE = re.compile(r"100|[0-9]{1,2}")

# Unleash's own strategies, and for those that take a share the parameter that holds it
# (https://docs.getunleash.io/reference/activation-strategies).
_SHARE_PARAMETER = {
    "flexibleRollout": "rollout",
    "gradualRolloutUserId": "percentage",
    "gradualRolloutSessionId": "percentage",
    "gradualRolloutRandom": "percentage",
}
_FIXED_STICKINESS = {
    "gradualRolloutUserId": "userId",
    "gradualRolloutSessionId": "sessionId",
    "gradualRolloutRandom": "random",
}
_KNOWN_STRATEGIES = {*_SHARE_PARAMETER, "default", "userWithId", "remoteAddress", "applicationHostname"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStrategy:
    """One share of a flag: which context field it sticks to, and the group that the hash is salted with."""

    field: str
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagRule:
    """What must be known of one flag's definition to explain its evaluations; it never decides anything.

    Attributes:
        name: the flag.
        version: fingerprint of everything the evaluation depends on.
        enabled: whether the flag is on at all in this environment.
        rollouts: the shares it is made of, its parents' included.
        reads: context fields whose value matters otherwise (constraints, segments, lists of users).
        cuts: first buckets of the ranges within which all buckets evaluate alike; None where nothing is known of that.
        has_parents: whether it depends on other flags.
        flaw: what is wrong with the definition, if anything is.
    """

    name: str
    version: str
    enabled: bool
    rollouts: tuple[RolloutStrategy, ...]
    reads: tuple[str, ...]
    cuts: tuple[int, ...] | None
    has_parents: bool
    flaw: FlagError | None


def parse_definitions(payload: str) -> Json:
    """Parse the text of a client API answer.

    Raises:
        FlagDefinitionsError: it is too large, no JSON, or not of the expected shape.
    """
    if len(payload) > MAX_BYTES:
        raise FlagDefinitionsError(f"larger than {MAX_BYTES} bytes")
    try:
        parsed = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise FlagDefinitionsError(f"not JSON ({type(error).__name__})") from None
    features = parsed.get("features") if isinstance(parsed, dict) else None
    if not isinstance(features, list):
        raise FlagDefinitionsError("no list of 'features' in it")
    if not all(isinstance(feature, dict) and isinstance(feature.get("name"), str) for feature in features):
        raise FlagDefinitionsError("a feature without a name")
    if len({feature["name"] for feature in features}) < len(features):
        raise FlagDefinitionsError("two features of the same name")
    segments = parsed.get("segments") or ()
    if not all(isinstance(segment, dict) for segment in segments):
        raise FlagDefinitionsError("a segment that is no object")
    return dict(parsed)


def read_rule(name: str, features: Mapping[str, Json], segments: Mapping[object, Json]) -> FlagRule:
    """Read the definition of the flag `name`, which must be among `features`."""
    feature = features[name]
    parents = [features[parent] for parent in _parent_names(feature) if parent in features]
    strategies = [(owner["name"], strategy) for owner in (feature, *parents) for strategy in _strategies(owner)]
    used = [segments[key] for _, strategy in strategies for key in strategy.get("segments") or () if key in segments]
    constraints = [
        *(constraint for _, strategy in strategies for constraint in strategy.get("constraints") or ()),
        *(constraint for segment in used for constraint in segment.get("constraints") or ()),
    ]
    reads = {str(constraint.get("contextName")) for constraint in constraints}
    if any(strategy.get("name") == "userWithId" for _, strategy in strategies):
        reads.add("userId")
    return FlagRule(
        name=name,
        version=_fingerprint([feature, parents, used]),
        enabled=bool(feature.get("enabled")),
        rollouts=tuple(dict.fromkeys(_rollouts(strategies))),
        reads=tuple(sorted(reads)),
        cuts=_cuts([constraint for constraint in constraints if constraint.get("contextName") == BUCKET]),
        has_parents=bool(feature.get("dependencies")),
        flaw=next(filter(None, map(find_flaw, (feature, *parents))), None),
    )


def find_flaw(feature: Json) -> FlagError | None:
    """Say what is wrong with a flag's definition where the engine would silently evaluate on or off."""
    strategies = _strategies(feature)
    if feature.get("enabled") and not strategies:
        return NoStrategyError(feature["name"])
    for strategy in strategies:
        kind = strategy.get("name")
        if kind not in _KNOWN_STRATEGIES:
            return UnknownStrategyError(feature["name"], kind)
        if kind in _SHARE_PARAMETER:
            share = (strategy.get("parameters") or {}).get(_SHARE_PARAMETER[kind])
            if not isinstance(share, str) or not _PERCENTAGE.fullmatch(share):
                return InvalidPercentageError(share)
    return None


def _cuts(constraints: Sequence[Json]) -> tuple[int, ...] | None:
    """Where evaluations may change on the way from the first bucket to the last one."""
    if not constraints or any(constraint.get("operator") not in _COMPARES_NUMBERS for constraint in constraints):
        return None
    cuts = {0}
    for constraint in constraints:
        for text in (constraint.get("value"), *(constraint.get("values") or ())):
            try:
                number = float(str(text))
                cuts |= {math.ceil(number), math.floor(number) + 1}
            except (ValueError, OverflowError):  # no bucket compares with that
                continue
    inside = tuple(sorted(cut for cut in cuts if 0 <= cut < BUCKETS))
    return inside if len(inside) <= MOST_CUTS else None


def _strategies(feature: Json) -> Sequence[Json]:
    return feature.get("strategies") or ()


def _parent_names(feature: Json) -> Iterator[str]:
    for dependency in feature.get("dependencies") or ():
        yield dependency.get("feature", "")


def _rollouts(strategies: Sequence[tuple[str, Json]]) -> Iterator[RolloutStrategy]:
    for owner, strategy in strategies:
        kind = strategy.get("name", "")
        if kind in _SHARE_PARAMETER:
            parameters = strategy.get("parameters") or {}
            field = _FIXED_STICKINESS.get(kind) or parameters.get("stickiness") or "default"
            yield RolloutStrategy(field=field, group=parameters.get("groupId") or owner)


def _fingerprint(parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
