"""The library's vocabulary: what a call, a decision, an outcome, a comparison and a stage are.

The stages' names, and which side is authoritative in each, are those of LaunchDarkly's migration flags
(https://launchdarkly.com/docs/sdk/features/migrations).
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

from migration.model.taxonomy import MAX_CAUSES, ErrorKind

R = TypeVar("R")


class Side(StrEnum):
    """One of the two implementations behind a migration."""

    LEGACY = "legacy"
    CANDIDATE = "candidate"

    @property
    def other(self) -> Side:
        """The implementation that is not this one."""
        return Side.CANDIDATE if self is Side.LEGACY else Side.LEGACY


class Role(StrEnum):
    """Why a side runs: to answer the caller, or to be compared."""

    PRIMARY = "primary"
    SHADOW = "shadow"


class ShadowMode(StrEnum):
    """How the shadow of a sampled call is run."""

    NONE = "none"  # it cannot be run: sampled calls are counted as dropped
    REPLAY = "replay"  # both sides run again without effect
    LIVE = "live"  # the shadow really runs, is compared, and is undone
    KEPT = "kept"  # the shadow really runs, and its work is kept

    @property
    def is_real(self) -> bool:
        """Whether the shadow really does its work."""
        return self in {ShadowMode.LIVE, ShadowMode.KEPT}


class Reason(StrEnum):
    """Why a decision came out as it did; the values OpenTelemetry names for feature flags."""

    SPLIT = "split"
    STATIC = "static"
    TARGETING_MATCH = "targeting_match"
    DEFAULT = "default"
    DISABLED = "disabled"
    CACHED = "cached"
    STALE = "stale"
    ERROR = "error"
    UNKNOWN = "unknown"


class Verdict(StrEnum):
    """What the comparison of both sides of one call says."""

    IDENTICAL = "identical"
    DIFFERENT = "different"
    CANDIDATE_ERROR = "candidate_error"  # only the candidate failed
    LEGACY_ERROR = "legacy_error"  # only legacy failed
    SAME_ERROR = "same_error"  # both failed, in the same way
    NOISY = "noisy"  # differs only in fields in which legacy is known to differ from itself
    IGNORED = "ignored"  # a mismatch that a declared rule excuses; `detail` names the rule
    STALE_INPUT = "stale_input"  # the input changed after the caller was answered
    DROPPED = "dropped"  # not compared; the comparison's `detail` says why


MISMATCHES = (Verdict.DIFFERENT, Verdict.CANDIDATE_ERROR, Verdict.LEGACY_ERROR)
"""The verdicts of calls on which the two sides did not do the same."""

ONE_SIDED = (Verdict.CANDIDATE_ERROR, Verdict.LEGACY_ERROR)
"""Those of them on which one side failed and the other did not."""

NOT_COMPARED = (Verdict.DROPPED, Verdict.STALE_INPUT)
"""The verdicts that say nothing about the two sides."""


class NoticeKind(StrEnum):
    """What a message for operators is about."""

    FELL_BACK = "fell_back"
    CANDIDATE_UNAVAILABLE = "candidate_unavailable"
    BLOCKED_EVENT_LOOP = "blocked_event_loop"
    GUARD = "guard"
    DECLARATION_FAILED = "declaration_failed"  # a function of a declaration raised
    SHADOW_LEFT = "shadow_left"  # what a live shadow created could not be removed


class Entrance(StrEnum):
    """How a migrated function was called."""

    SYNC = "sync"  # no event loop runs in the caller's thread
    BLOCKING = "blocking"  # synchronously inside a running event loop, which is blocked meanwhile
    AWAITED = "awaited"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSite:
    """Where in the source a migrated function was called."""

    function: str
    file: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a migrated function.

    Attributes:
        migration: name of the migration, which is also the name of its flag.
        function: qualified name of the legacy function (`pkg.mod:func`).
        call_id: identifies the call; percentages are taken of call ids.
        args: positional arguments, never printed.
        kwargs: keyword arguments, never printed.
        site: where it was called.
        attributes: facts of the call that may be shown (provider, file size in bytes).
        entrance: how it was called.
    """

    migration: str
    function: str
    call_id: str
    args: tuple[Any, ...] = field(repr=False)
    kwargs: Mapping[str, Any] = field(repr=False)
    site: CallSite
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    entrance: Entrance = Entrance.SYNC


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which side serves a call, and whether it has a shadow.

    Attributes:
        serve: the side that answers the caller.
        shadow: whether the call is compared afterwards.
        probability: the probability, known before the call, of `serve` being the candidate (0..1).
        shadow_probability: likewise for `shadow`.
        reason: why.
        source: what decided (`unleash`, `file`, ...).
        flag_version: fingerprint of the flag definition that was in force, if there was one.
        error: type name of what went wrong while deciding, if anything did.
    """

    serve: Side
    shadow: bool = False
    probability: float = 0.0
    shadow_probability: float = 0.0
    reason: Reason
    source: str = ""
    flag_version: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[R]):
    """How one run of one side ended: with a value or with an exception.

    Attributes:
        side: the side that ran.
        seconds: the time that the run took.
        value: what it returned.
        error: what it raised.
        error_kind: the kind of `error` in the migration's taxonomy, once it is known.
    """

    side: Side
    seconds: float
    value: R | None = field(default=None, repr=False)
    error: BaseException | None = None
    error_kind: ErrorKind | None = None

    @property
    def error_type(self) -> str | None:
        """The exception's class name, or None after success."""
        return None if self.error is None else type(self.error).__name__

    def unwrap(self) -> R:
        """Return the value, or raise the very exception that the side raised.

        What it was raised in handling of stays its context; the exception that the caller is handling comes after that,
        as if the side had run in the caller's own frames.
        """
        if self.error is not None:
            context = self.error.__context__
            if context is not None:
                _end_with(self.error, sys.exception())
            try:
                raise self.error
            finally:
                if context is not None:
                    _set_context(self.error, context)
                del (
                    self,
                    context,
                )  # or the exception and this frame would keep each other alive
        return self.value  # type: ignore[return-value]  # absent only together with an error

    def error_location(self) -> str | None:
        """`file.py:line` where the exception was raised, for a first look."""
        if self.error is None or self.error.__traceback__ is None:
            return None
        frame = traceback.extract_tb(self.error.__traceback__)[-1]
        return f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}"


def _end_with(error: BaseException, last: BaseException | None) -> None:
    """Let the contexts of `error` end with `last`. A very long chain, or one that meets it already, stays as it is."""
    chain, other = list(_contexts(error)), list(_contexts(last))
    if len(chain) < MAX_CAUSES and not any(each is of for each in chain for of in other):
        _set_context(chain[-1], last)


def _set_context(error: BaseException, context: BaseException | None) -> None:
    """Set the context of an error of which nothing else may be set, too: a frozen dataclass."""
    BaseException.__setattr__(error, "__context__", context)


def _contexts(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its contexts, at most `MAX_CAUSES`."""
    for _ in range(MAX_CAUSES):
        if error is None:
            return
        yield error
        error = error.__context__


@dataclass(slots=True, kw_only=True)
class Operation:
    """What observers see begin and end: a call, or a run of one side.

    Attributes:
        call: the call it belongs to.
        decision: the decision taken for that call.
        side: the side that runs; None for the call as a whole.
        role: primary or shadow.
        link: W3C traceparent of the operation this one shadows.
        trace: W3C traceparent of this operation, filled in by the observer that traces.
        outcome: how it ended, set before the observers' exit.
    """

    call: Call
    decision: Decision
    side: Side | None = None
    role: Role = Role.PRIMARY
    link: str | None = None
    trace: str | None = None
    outcome: Outcome[Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field in which both sides differ; values are shortened and hold no file contents."""

    field: str
    legacy: str
    candidate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseSample:
    """The fields in which runs of a call differed from the first run of legacy.

    Attributes:
        candidate: those in which the candidate did.
        legacy: those in which legacy did when it ran a second time.
    """

    candidate: tuple[str, ...]
    legacy: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The verdict on one shadowed call.

    Attributes:
        mode: how the shadow was run.
        differences: the fields in which both sides differ; kept when the verdict is `IGNORED`.
        noisy: those of the differing fields that are known to be noise.
        noise: in which fields the runs differed, if legacy ran twice.
        masked: fields that were not compared because a mask names them.
        unused_masks: masks that named no field of this call.
        detail: why, in words.
    """

    call: Call
    decision: Decision
    verdict: Verdict
    mode: ShadowMode = ShadowMode.REPLAY
    differences: tuple[Difference, ...] = ()
    noisy: tuple[str, ...] = ()
    noise: NoiseSample | None = None
    masked: tuple[str, ...] = ()
    unused_masks: tuple[str, ...] = ()
    detail: str = ""
    primary_seconds: float | None = None
    shadow_seconds: float | None = None
    primary_trace: str | None = None
    shadow_trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A message for operators. `text` is a sentence that says what happened and what to do."""

    kind: NoticeKind
    migration: str
    text: str


# Stages: how far a migration is, and what its two flags are set to


class Stage(StrEnum):
    """How far a migration is, in the order in which the stages follow each other."""

    OFF = "off"  # legacy alone
    DUALWRITE = "dualwrite"  # legacy answers, and the candidate's work is done as well and kept
    SHADOW = "shadow"  # legacy answers, the candidate is run and compared
    LIVE = "live"  # the candidate answers (some calls or all), legacy is run and compared
    RAMPDOWN = "rampdown"  # the candidate answers, and legacy's work is done as well and kept
    COMPLETE = "complete"  # the candidate alone

    @property
    def keeps(self) -> bool:
        """Whether the shadow's work is kept, which takes a declaration of mode `KEPT`."""
        return self in {Stage.DUALWRITE, Stage.RAMPDOWN}


@dataclass(frozen=True, slots=True)
class StageFlags:
    """The two flags of a migration, in percent: calls that the candidate serves, calls that have a shadow."""

    serve: int
    shadow: int


def stage_of(serve_probability: float, shadow_probability: float, mode: ShadowMode) -> Stage:
    """The stage that the flags and the declaration amount to; with probabilities of 0 or 1, that of one call.

    Args:
        serve_probability: share of the calls that the candidate answers, 0..1.
        shadow_probability: share of the calls that have a shadow, 0..1.
        mode: how shadows are run.
    """
    shadowed = shadow_probability > 0 and mode is not ShadowMode.NONE
    kept = mode is ShadowMode.KEPT
    if serve_probability <= 0:
        if not shadowed:
            return Stage.OFF
        return Stage.DUALWRITE if kept else Stage.SHADOW
    if serve_probability < 1:
        return Stage.LIVE
    if not shadowed:
        return Stage.COMPLETE
    return Stage.RAMPDOWN if kept else Stage.LIVE


def flags_of(stage: Stage, percent: int = 100) -> StageFlags:
    """What the two flags have to be set to for a stage; the inverse of `stage_of`.

    Args:
        stage: the stage.
        percent: 1..100, the share of calls: in `dualwrite` and `shadow` those that have a shadow, from `live` on those
            that the candidate answers. `rampdown` and `complete` take 100.

    Raises:
        ValueError: `percent` does not suit the stage.
    """
    least = 100 if stage in {Stage.RAMPDOWN, Stage.COMPLETE} else 1
    if not least <= percent <= 100:  # noqa: PLR2004  # percent
        raise ValueError(f"stage {stage} takes {least if least == 100 else f'{least} to 100'} percent, not {percent}")  # noqa: PLR2004  # percent
    return {
        Stage.OFF: StageFlags(0, 0),
        Stage.DUALWRITE: StageFlags(0, percent),
        Stage.SHADOW: StageFlags(0, percent),
        Stage.LIVE: StageFlags(percent, 100),
        Stage.RAMPDOWN: StageFlags(100, 100),
        Stage.COMPLETE: StageFlags(100, 0),
    }[stage]
