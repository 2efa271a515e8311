"""What the guard of the migrations works with here: the policy, and the memory of this process."""

from __future__ import annotations

from pathlib import Path

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
