"""What the demonstration measures. Times are in seconds, sizes in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from migration import Difference, Side, Verdict
from shim.http.exchanges import SHARED

AGREEING = frozenset({Verdict.IDENTICAL, Verdict.SAME_ERROR})
"""Verdicts that say that both sides do the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A question about a file, and what the unchanged caller answered."""

    file: str
    question: str
    answer: str
    provider: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The comparison of both sides of one sampled call."""

    migration: str
    verdict: Verdict
    size: int
    differences: tuple[Difference, ...]
    detail: str
    primary: Side
    primary_seconds: float | None
    shadow_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SideServed:
    """The calls of a stage that one side answered; no mean without calls."""

    calls: int
    mean_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Uploads at one percentage.

    Attributes:
        percentage: the share of the asynchronous path that the flags ask for.
        uploads: uploads that were tried.
        failures: those that raised.
        served: by which side the calls were answered.
        seconds: from the first upload to the last answer.
        verdicts: how many comparisons ended how.
    """

    percentage: int
    uploads: int
    failures: int
    served: Mapping[Side, SideServed]
    seconds: float
    verdicts: Mapping[Verdict, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BigUpload:
    """One upload of one large file.

    `memory_growth` is the highest resident memory of the process during the upload, less that before it.
    """

    side: Side
    size: int
    seconds: float
    memory_growth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """The flags turned off under load. All times count from the moment before the first flag was turned off.

    Attributes:
        last_async_begun: when the last call began that the asynchronous side answered; 0 if before that moment.
        last_async_answered: when the last such call was answered.
        first_legacy_begun: when the first call began that legacy answered.
        uploads: uploads that were tried during the whole phase.
        failures: those that raised.
    """

    last_async_begun: float
    last_async_answered: float
    first_legacy_begun: float
    uploads: int
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What callers were answered against what the providers hold.

    Attributes:
        answered: uploads that were answered with a file id.
        held: files that the providers hold.
        shared: answers with a file that an upload of the same content had sent at the same moment.
        lost: answered ids that no provider holds with the content that was sent.
        doubled: files that the providers hold and no caller was answered with.
    """

    answered: int
    held: int
    shared: int
    lost: tuple[str, ...]
    doubled: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Everything that was measured."""

    flags: str
    files: tuple[str, ...]
    answer: Answer
    stages: tuple[Stage, ...]
    big_uploads: tuple[BigUpload, ...]
    trace: tuple[str, ...]
    compared: tuple[Compared, ...]
    flip: Flip
    account: Account
    seconds: float

    @property
    def failed(self) -> int:
        """Uploads that raised an error, on either side."""
        return sum(stage.failures for stage in self.stages) + self.flip.failures

    @property
    def disagreements(self) -> tuple[Compared, ...]:
        """Comparisons that do not say that both sides do the same. A call that shared a file had nothing to compare."""
        return tuple(each for each in self.compared if each.verdict not in AGREEING and each.detail != SHARED)

    @property
    def ok(self) -> bool:
        """Whether nothing was lost or doubled, and every sampled call was found to be the same on both sides."""
        return not (self.account.lost or self.account.doubled or self.disagreements)
