"""Changing flags: what an operator, a rollout or a guard may do, wherever the flags live."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from flags._errors import AmbiguousRolloutError, InvalidFlagNameError, InvalidPercentageError

_NAME = re.compile(r"[A-Za-z0-9._~-]{1,100}")
_HUNDRED = 100

TURNED_OFF = "Turned off: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag as an operator sees it.

    Attributes:
        name: the flag.
        enabled: whether it is on in this environment.
        percentage: the share of its plain rollout (0..100), or None if it does not have exactly one share.
        stickiness: the context field that the rollout sticks to.
        strategies: how many strategies it has.
        description: what people wrote about it; the last line says why it was turned off by a program.
    """

    name: str
    enabled: bool
    percentage: int | None
    stickiness: str | None
    strategies: int
    description: str


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
        """Set the share of the flag's plain rollout; whether it is on or off stays.

        Raises:
            InvalidPercentageError: not a whole number from 0 to 100.
            FlagNotFoundError: there is no such flag.
            AmbiguousRolloutError: it does not have one plain rollout.
        """
        ...

    def turn_off(self, name: str, reason: str) -> Flag:
        """Turn the flag off and note the reason in its description."""
        ...

    def turn_on(self, name: str) -> Flag:
        """Turn the flag on, with the percentage it has."""
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


def new_rollout(name: str) -> dict[str, Any]:
    """The strategy of a new flag: 0 % of the units."""
    return {
        "name": "flexibleRollout",
        "parameters": {"rollout": "0", "stickiness": "sessionId", "groupId": name},
        "constraints": [],
        "variants": [],
        "segments": [],
    }


def plain_rollouts(name: str, strategies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rollouts that apply to everybody alike.

    Several are taken as one if they hash alike, as two programs that create a flag at the same moment leave it.

    Raises:
        AmbiguousRolloutError: there is none, or they differ in what they hash.
    """
    found = _unconstrained(strategies)
    if len({_hashed_by(strategy) for strategy in found}) != 1:
        raise AmbiguousRolloutError(name, len(found))
    return found


def describe(name: str, strategies: Sequence[dict[str, Any]], *, enabled: bool, description: str | None) -> Flag:
    """Sum up a flag from its strategies."""
    found = _unconstrained(strategies)
    shares = {strategy.get("parameters", {}).get("rollout", "") for strategy in found}
    share = shares.pop() if len(shares) == 1 else ""
    return Flag(
        name=name,
        enabled=enabled,
        percentage=int(share) if re.fullmatch(r"100|[0-9]{1,2}", str(share)) else None,
        stickiness=found[0].get("parameters", {}).get("stickiness", "default") if found else None,
        strategies=len(strategies),
        description=description or "",
    )


def with_reason(description: str | None, reason: str) -> str:
    """The description with a last line that says why the flag was turned off; an older such line is replaced."""
    kept = [line for line in (description or "").splitlines() if not line.startswith(TURNED_OFF)]
    return "\n".join([*kept, TURNED_OFF + " ".join(reason.split())])


def _unconstrained(strategies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        strategy
        for strategy in strategies
        if strategy.get("name") == "flexibleRollout"
        and not strategy.get("constraints")
        and not strategy.get("segments")
        and not strategy.get("disabled")
    ]


def _hashed_by(strategy: dict[str, Any]) -> tuple[str, str]:
    parameters = strategy.get("parameters", {})
    return parameters.get("stickiness", "default"), parameters.get("groupId", "")
