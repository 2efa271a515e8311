"""Changing flags: what an operator, a rollout or a guard may do, wherever the flags live."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from flags.definitions import BUCKET, BUCKETS, INSTANCE, Json
from flags.errors import AmbiguousRolloutError, InvalidFlagNameError, InvalidPercentageError
from migration.rollout import Exposure

_NAME = re.compile(r"[A-Za-z0-9._~-]{1,100}")
_HUNDRED = 100

TURNED_OFF = "Turned off: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag as an operator sees it.

    Attributes:
        name: the flag.
        enabled: whether it is on in this environment.
        percentage: the share of its rollout (0..100), or None if it does not have exactly one share.
        instance: the one instance whose calls it is a share of; None for those of all.
        stickiness: the context field that the rollout sticks to.
        strategies: how many strategies it has.
        description: what people wrote about it; the last line says why it is off, if it was turned off here.
    """

    name: str
    enabled: bool
    percentage: float | None
    stickiness: str | None
    strategies: int
    description: str
    instance: str | None = None


class FlagAdmin(Protocol):
    """Creates, shows and changes flags. Every method raises a FlagError if it could not do what it was asked."""

    def list(self) -> Sequence[Flag]:
        """All flags, by name."""
        ...

    def get(self, name: str) -> Flag:
        """One flag.

        Raises:
            FlagNotFoundError: there is none of this name.
        """
        ...

    def ensure(self, name: str) -> Flag:
        """Create the flag, on with a rollout of 0 %, unless it exists: then it is left as it is."""
        ...

    def set_percentage(self, name: str, percentage: int) -> Flag:
        """Set the share of the flag's rollout, for everybody; whether it is on or off stays.

        Raises:
            InvalidPercentageError: not a whole number from 0 to 100.
            FlagNotFoundError: there is no such flag.
            AmbiguousRolloutError: it does not have one rollout that is for everybody, or that `set_exposure` has set.
        """
        ...

    def set_exposure(self, name: str, exposure: Exposure) -> Flag:
        """Set who is in the flag's rollout, below one percent and on one instance too; on or off stays.

        Raises:
            FlagNotFoundError: there is no such flag.
            AmbiguousRolloutError: as `set_percentage`.
        """
        ...

    def turn_off(self, name: str, reason: str) -> Flag:
        """Turn the flag off and note the reason in its description."""
        ...

    def turn_on(self, name: str) -> Flag:
        """Turn the flag on, with the percentage it has; why it was off leaves its description."""
        ...


def check_name(name: str) -> str:
    """Return the name if it can stand in an address without being changed.

    Raises:
        InvalidFlagNameError: it cannot. Unleash itself demands URL-safe names.
    """
    if not _NAME.fullmatch(name) or name in {".", ".."}:
        raise InvalidFlagNameError(name)
    return name


def check_percentage(percentage: object) -> int:
    """Return the percentage if it is a whole number from 0 to 100.

    Raises:
        InvalidPercentageError: it is not. Unleash accepts 33.3 or 150 and then evaluates 0.
    """
    if not isinstance(percentage, int) or isinstance(percentage, bool) or not 0 <= percentage <= _HUNDRED:
        raise InvalidPercentageError(percentage)
    return percentage


def new_rollout(name: str) -> Json:
    """The strategy of a new flag: 0 % of the units."""
    return {
        "name": "flexibleRollout",
        "parameters": {"rollout": "0", "stickiness": "sessionId", "groupId": name},
        "constraints": [],
        "variants": [],
        "segments": [],
    }


def governed_rollouts(name: str, strategies: Sequence[Json]) -> list[Json]:
    """The rollouts whose share is the flag's: those for everybody, or else those that `aimed_at` has constrained.

    Several are taken as one if they hash alike, as two programs that create a flag at the same moment leave it.

    Raises:
        AmbiguousRolloutError: there is none, or they differ in what they hash.
    """
    found = _governed(strategies)
    if len({_hashed_by(strategy) for strategy in found}) != 1:
        raise AmbiguousRolloutError(name, len(found))
    return found


def aimed_at(exposure: Exposure) -> tuple[str, list[Json]]:
    """The percentage of a rollout, and its constraints, that let in exactly these calls.

    Below one percent it is a part of the first percent, so a later share contains every earlier one.
    """
    buckets = BUCKETS if exposure.percent >= 1 or not exposure.percent else round(exposure.percent * BUCKETS)
    constraints = []
    if exposure.instance is not None:
        constraints.append(_constraint(INSTANCE, "IN", values=[exposure.instance]))
    if constraints or buckets < BUCKETS:
        constraints.append(_constraint(BUCKET, "NUM_LT", value=str(buckets)))
    return str(math.ceil(exposure.percent)), constraints


def describe(name: str, strategies: Sequence[Json], *, enabled: bool, description: str | None) -> Flag:
    """Sum up a flag from its strategies."""
    found = _governed(strategies)
    shares = {_share(strategy) for strategy in found}
    percentage, instance = shares.pop() if len(shares) == 1 else (None, None)
    return Flag(
        name=name,
        enabled=enabled,
        percentage=percentage,
        stickiness=found[0].get("parameters", {}).get("stickiness", "default") if found else None,
        strategies=len(strategies),
        description=description or "",
        instance=instance,
    )


def with_reason(description: str | None, reason: str) -> str:
    """The description with a last line that says why the flag was turned off; an older such line is replaced."""
    kept = without_reason(description).splitlines()
    return "\n".join([*kept, TURNED_OFF + " ".join(reason.split())])


def without_reason(description: str | None) -> str:
    """The description without the line that says why the flag was turned off."""
    return "\n".join(line for line in (description or "").splitlines() if not line.startswith(TURNED_OFF))


def _governed(strategies: Sequence[Json]) -> list[Json]:
    rollouts = [
        strategy
        for strategy in strategies
        if strategy.get("name") == "flexibleRollout" and not strategy.get("segments") and not strategy.get("disabled")
    ]
    plain = [strategy for strategy in rollouts if not strategy.get("constraints")]
    return plain or [strategy for strategy in rollouts if _buckets(strategy) is not None]


def _share(strategy: Json) -> tuple[float | None, str | None]:
    """The share of a governed rollout in percent, None if it is none, and the instance that it is limited to."""
    text, buckets = str(strategy.get("parameters", {}).get("rollout", "")), _buckets(strategy)
    if not re.fullmatch(r"100|[0-9]{1,2}", text):
        return None, None
    percent = int(text) if buckets in {None, BUCKETS} else int(text) * (buckets or 0) / BUCKETS
    instances = [each["values"] for each in strategy.get("constraints") or () if each.get("contextName") == INSTANCE]
    return percent, instances[0][0] if instances else None


def _buckets(strategy: Json) -> int | None:
    """How many buckets a rollout is limited to that is constrained as `aimed_at` does it; None for every other."""
    constraints = {each.get("contextName"): each for each in strategy.get("constraints") or ()}
    value = str(constraints.get(BUCKET, {}).get("value"))
    if not constraints.keys() <= {BUCKET, INSTANCE} or not value.isdecimal() or int(value) > BUCKETS:
        return None
    expected = [_constraint(BUCKET, "NUM_LT", value=value)]
    if INSTANCE in constraints:
        expected.insert(0, _constraint(INSTANCE, "IN", values=(constraints[INSTANCE].get("values") or [])[:1]))
    found = [{key: each.get(key) or empty for key, empty in _EMPTY.items()} for each in strategy["constraints"]]
    return int(value) if found == [_EMPTY | each for each in expected] else None


_EMPTY: Json = {
    "contextName": "", "operator": "", "values": [], "value": "", "inverted": False, "caseInsensitive": False,
}  # fmt: skip


def _constraint(field: str, operator: str, *, values: Sequence[str] = (), value: str = "") -> Json:
    found = {**_EMPTY, "contextName": field, "operator": operator, "values": list(values), "value": value}
    return {name: found[name] for name in found if name != "value" or value}  # the server refuses an empty one


def _hashed_by(strategy: Json) -> tuple[str, str]:
    parameters = strategy.get("parameters", {})
    return parameters.get("stickiness", "default"), parameters.get("groupId", "")
