"""A migration, declared as data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from migration.model.errors import DeclarationError
from migration.model.model import Comparison, Outcome, ShadowMode
from migration.model.ports import Live, Replay
from migration.model.taxonomy import MAX_CAUSES, Taxonomy

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

R = TypeVar("R")

_PYTHONS_OWN = Taxonomy()

Attributes = Mapping[str, str | int]


def _no_attributes(*_args: Any, **_kwargs: Any) -> Attributes:
    return {}


def _always(*_args: Any, **_kwargs: Any) -> bool:
    return True


def _bare(legacy: Callable[..., Any]) -> Callable[..., Any]:
    return legacy


def as_is(_field: str, value: object) -> object:
    """The value itself."""
    return value


def result_as_facts(result: Any) -> Mapping[str, object]:
    """A mapping's items as they are; anything else under the name `value`."""
    return result if isinstance(result, Mapping) else {"value": result}


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """A legacy function's replacement, and what is needed to switch to it safely.

    Attributes:
        name: the flag that decides who serves, and the name in spans and metrics. Several functions that are switched
            together share one name; the flag `NAME.shadow` decides which calls are also compared.
        candidate: the replacement, with the legacy function's parameters: a coroutine function, or a function that
            blocks. As `"pkg.mod:func"` it is imported on first use, so that a broken module has no effect while the
            flag is off.
        falls_back_on: exceptions which prove that nothing was sent. When the candidate raises one, or one is the cause
            of what it raises, legacy serves the call. Everything else reaches the caller: the work may have been done.
        facts: what of a result must be the same on both sides.
        masked: patterns of compared fields that may differ (`*` and `?` as in file names, brackets as they are:
            `requests[*].path`); they are reported as masked.
        ignore: rules that excuse a mismatch, by their names. A rule gets the finished comparison; what it excuses has
            the verdict `IGNORED`, keeps its differences, and names the rule. A rule that raises excuses nothing.
        clean: what a report shows of a field's value, from the field's path and the value; it changes no verdict.
        run_if: which of the sampled calls may be compared, from the call's own arguments. One that raises means no
            comparison, and a notice.
        taxonomy: which errors are of the same kind, whichever library raised them.
        attributes: facts of a call that may be shown on spans and in comparisons, from the call's own arguments.
        protect: a decorator around every run of legacy, shadows included: what keeps its work safe from outside, such
            as a write-ahead log, so that legacy itself stays as it was.
        replay: how both sides run again without effect; `ReadOnly()` for functions that only read.
        live: how the shadow really runs, and is undone.
        shadow_mode: which of the two is used, and whether the work of a live shadow is kept. None: `REPLAY` if `replay`
            is given, else `NONE`; a live shadow has to be asked for.

    Raises:
        DeclarationError: the name cannot be the name of a flag, the candidate is not of the form `"pkg.mod:func"`, a
            mask covers everything, or the mode asks for what is not declared.
    """

    name: str
    candidate: str | Callable[..., Any]
    falls_back_on: tuple[type[BaseException], ...] = ()
    facts: Callable[[Any], Mapping[str, object]] = result_as_facts
    masked: tuple[str, ...] = ()
    ignore: Mapping[str, Callable[[Comparison], bool]] = field(default_factory=dict)
    clean: Callable[[str, object], object] = as_is
    run_if: Callable[..., bool] = _always
    taxonomy: Taxonomy = _PYTHONS_OWN
    attributes: Callable[..., Attributes] = _no_attributes
    protect: Callable[[Callable[..., Any]], Callable[..., Any]] = _bare
    replay: Replay | None = None
    live: Live | None = None
    shadow_mode: ShadowMode | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise DeclarationError(
                f"{self.name!r} cannot be the name of a flag: use letters, digits, '.', '_' and '-', at most 100"
            )
        if isinstance(self.candidate, str) and self.candidate.count(":") != 1:
            raise DeclarationError(f"candidate {self.candidate!r} of {self.name} must look like 'pkg.mod:func'")
        for pattern in self.masked:
            if not pattern.strip("*?"):
                raise DeclarationError(f"the mask {pattern!r} of {self.name} covers everything; name a field")
        if self.mode is not ShadowMode.NONE and self.recorder is None:
            needed = "live" if self.mode.is_real else "replay"
            raise DeclarationError(f"{self.name} has `shadow_mode={self.mode}`, which needs a `{needed}=`")

    @property
    def mode(self) -> ShadowMode:
        """How the shadow of a sampled call is run."""
        if self.shadow_mode is not None:
            return self.shadow_mode
        return ShadowMode.NONE if self.replay is None else ShadowMode.REPLAY

    @property
    def recorder(self) -> Replay | Live | None:
        """What records the primary run, for the mode that is used."""
        if self.mode is ShadowMode.NONE:
            return None
        return self.live if self.mode.is_real else self.replay

    def classified(self, outcome: Outcome[R]) -> Outcome[R]:
        """The outcome with the kind of its error, if it has one."""
        if outcome.error is None:
            return outcome
        return replace(outcome, error_kind=self.taxonomy.kind_of(outcome.error))

    def proves_nothing_sent(self, error: BaseException) -> bool:
        """Whether `error`, or what caused it, is one of `falls_back_on`."""
        cause: BaseException | None = error
        for _ in range(MAX_CAUSES):
            if cause is None or isinstance(cause, self.falls_back_on):
                break
            cause = cause.__cause__
        return isinstance(cause, self.falls_back_on)
