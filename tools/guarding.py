"""What the guard of the migrations works with here: the policy, the flags, and the memory of this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import psutil

from migration.guard import Action, Policy, Rule
from tools.errors import ConfigurationError

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says how much memory a control group may have, in its second and its first version."""


_POLICY = "SHIM_GUARD_POLICY"


def policy_of(text: str) -> Policy:
    """What each rule calls for; the usual, but for what `text` says (`rule:action,rule:action`).

    Raises:
        ConfigurationError: a rule or an action does not exist, or something is said twice; the message names it.
    """
    chosen: dict[str, Action] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        rule, _, action = (each.strip() for each in word.partition(":"))
        if rule not in set(Rule):
            raise ConfigurationError({_POLICY: f"{word!r} names no rule; there are {', '.join(Rule)}"})
        if action.upper() not in Action.__members__:
            words = ", ".join(each.word for each in Action)
            raise ConfigurationError({_POLICY: f"{word!r} names no action; write {rule}: and one of {words}"})
        if rule in chosen:
            raise ConfigurationError({_POLICY: f"{rule} is named twice"})
        chosen[rule] = Action[action.upper()]
    return Policy(**chosen)


class _Admin(Protocol):
    """What is needed of whoever changes flags."""

    def get(self, name: str) -> Any: ...
    def ensure(self, name: str) -> Any: ...
    def set_percentage(self, name: str, percentage: int) -> Any: ...
    def turn_off(self, name: str, reason: str) -> Any: ...
    def turn_on(self, name: str) -> Any: ...


class FlagSwitch:
    """Changes the two flags of a migration.

    Args:
        admin: makes whoever can change flags; asked when something is to be changed.
        shadow_suffix: what the second flag's name ends in.
    """

    def __init__(self, admin: Callable[[], _Admin], *, shadow_suffix: str) -> None:
        self._admin = admin
        self._suffix = shadow_suffix

    def turn_off(self, migration: str, *, because: str) -> str:
        """Turn the migration's flag off; the reason stands in its description.

        Raises:
            flags.FlagError: it could not be changed.
        """
        flag = self._admin().turn_off(migration, because)
        return "on" if flag.enabled else "off"

    def compare_more(self, migration: str, *, percent: int, because: str) -> None:
        """Let at least `percent` of the calls be compared.

        Raises:
            flags.FlagError: it could not be changed.
        """
        del because  # a flag's description holds only why it is off
        admin, name = self._admin(), migration + self._suffix
        flag = admin.ensure(name)
        if not flag.enabled or flag.percentage is None or flag.percentage < percent:
            admin.set_percentage(name, percent)
            admin.turn_on(name)


class ProcessMemory:
    """This process's memory, as the operating system tells it."""

    def __init__(self) -> None:
        self._limit = min(psutil.virtual_memory().total, *filter(None, map(_read_limit, _CGROUP_LIMITS)), 2**63)

    def used(self) -> int:
        """Resident bytes."""
        return int(psutil.Process().memory_info().rss)

    def limit(self) -> int:
        """Bytes that the process may have: the smaller of its control group's limit and the machine's memory."""
        return self._limit


def _read_limit(path: str) -> int | None:
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
