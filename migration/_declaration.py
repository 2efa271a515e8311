"""A migration, declared as data."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from migration._errors import DeclarationError
from migration._ports import Replay

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Attributes = Mapping[str, str | int]


def _no_attributes(*_args: Any, **_kwargs: Any) -> Attributes:
    return {}


def result_as_facts(result: Any) -> Mapping[str, object]:
    """A mapping's items as they are; anything else under the name `value`."""
    return result if isinstance(result, Mapping) else {"value": result}


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """A legacy function's replacement, and what is needed to switch to it safely.

    Attributes:
        name: the flag that decides who serves, and the name in spans and metrics. Several functions that are switched
            together share one name; the flag `NAME.shadow` decides which calls are also compared.
        candidate: the replacement, a coroutine function with the legacy function's parameters; as `"pkg.mod:func"` it
            is imported on first use, so that a broken module hurts nobody while the flag is off.
        falls_back_on: exceptions which prove that nothing was sent. When the candidate raises one, or raises something
            caused by one, legacy serves the call. Everything else reaches the caller: the work may have been done.
        facts: what of a result must be the same on both sides.
        masked: patterns of compared fields that may differ (`*` and `?` as in file names, brackets as they are:
            `requests[*].path`); they are reported as masked.
        attributes: facts of a call that may be shown on spans, from the call's own arguments.
        replay: how the other side is run for comparison without creating anything; None means that sampled calls are
            counted as dropped.

    Raises:
        DeclarationError: the name cannot be the name of a flag, or the candidate is not of the form `"pkg.mod:func"`.
    """

    name: str
    candidate: str | Callable[..., Awaitable[Any]]
    falls_back_on: tuple[type[BaseException], ...] = ()
    facts: Callable[[Any], Mapping[str, object]] = result_as_facts
    masked: tuple[str, ...] = ()
    attributes: Callable[..., Attributes] = _no_attributes
    replay: Replay | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise DeclarationError(
                f"{self.name!r} cannot be the name of a flag: use letters, digits, '.', '_' and '-', at most 100"
            )
        if isinstance(self.candidate, str) and self.candidate.count(":") != 1:
            raise DeclarationError(f"candidate {self.candidate!r} of {self.name} must look like 'pkg.mod:func'")

    def proves_nothing_sent(self, error: BaseException) -> bool:
        """Whether `error`, or what caused it, is one of `falls_back_on`."""
        seen: BaseException | None = error
        for _ in range(20):  # a chain of causes can be circular
            if seen is None:
                return False
            if isinstance(seen, self.falls_back_on):
                return True
            seen = seen.__cause__
        return False
