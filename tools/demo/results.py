"""What the demonstration measures, how it notices it, and who is told. Times are in seconds, sizes in bytes."""

from __future__ import annotations

import gc
import io
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psutil

from migration import Comparison, Side
from migration.model import Difference, Notice, Operation, Role, Verdict
from shim.http.recording import SHARED
from tools.load import Receipt
from tools.providers.spec import PROVIDERS
from tools.sandbox import PARSER_PURPOSE, RunningSandbox

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
class DemoStage:
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
        last_candidate_begun: when the last call began that the candidate answered; 0 if before that moment.
        last_candidate_answered: when the last such call was answered.
        first_legacy_begun: when the first call began that legacy answered.
        uploads: uploads that were tried during the whole phase.
        failures: those that raised.
    """

    last_candidate_begun: float
    last_candidate_answered: float
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
    stages: tuple[DemoStage, ...]
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


def settle(sandbox: RunningSandbox, receipts: Sequence[Receipt]) -> Account:
    """Compare ids and digests, one by one. Uploads of one content at one moment have one file."""
    state = sandbox.state()
    held = {
        (provider, file["id"]): file["sha256"]
        for provider in PROVIDERS
        for file in state[provider]["files"]
        if file["purpose"] != PARSER_PURPOSE  # given to be read for a question, not uploaded
    }
    answered = [receipt for receipt in receipts if receipt.file_id is not None]
    ids = {(receipt.job.provider, str(receipt.file_id)) for receipt in answered}
    lost = [
        str(receipt.file_id)
        for receipt in answered
        if held.get((receipt.job.provider, str(receipt.file_id))) != receipt.job.sample.sha256
    ]
    return Account(
        answered=len(answered),
        held=len(held),
        shared=len(answered) - len(ids),
        lost=tuple(lost),
        doubled=tuple(f"{provider} {file_id}" for provider, file_id in held if (provider, file_id) not in ids),
    )


_SAMPLE_SECONDS = 0.002


class PeakMemory:
    """Watches this process's resident memory for the length of a `with` block."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)
        self._before = self._peak = 0

    @property
    def growth(self) -> int:
        """Bytes by which the highest sample lies above the first."""
        return self._peak - self._before

    def __enter__(self) -> Self:
        gc.collect()
        self._before = self._peak = self._resident()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _resident(self) -> int:
        return int(self._process.memory_info().rss)

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            self._peak = max(self._peak, self._resident())


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A call that was answered; `began` and `ended` are readings of the watcher's clock."""

    side: Side
    began: float
    ended: float
    seconds: float
    trace: str | None


class Watcher:
    """An observer that keeps what it saw until it is taken."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._served: list[Served] = []
        self._compared: list[Compared] = []

    @contextmanager
    def operation(self, operation: Operation) -> Iterator[None]:
        """Note the call when it was answered, as `migration.Observer` asks for."""
        began = self.clock()
        yield
        outcome = operation.outcome
        if operation.side is not None or operation.role is not Role.PRIMARY or outcome is None:
            return
        served = Served(
            side=outcome.side, began=began, ended=self.clock(), seconds=outcome.seconds, trace=operation.trace
        )
        with self._lock:
            self._served.append(served)

    def compared(self, comparison: Comparison) -> None:
        """Note a comparison."""
        call = comparison.call
        compared = Compared(
            migration=call.migration,
            verdict=comparison.verdict,
            size=int(call.attributes.get("file.size", 0)),
            differences=comparison.differences,
            detail=comparison.detail,
            primary=comparison.decision.serve,
            primary_seconds=comparison.primary_seconds,
            shadow_seconds=comparison.shadow_seconds,
        )
        with self._lock:
            self._compared.append(compared)

    def noticed(self, notice: Notice) -> None:
        """Messages for operators are the ledger's business."""

    def served(self) -> list[Served]:
        """The calls so far."""
        with self._lock:
            return list(self._served)

    def take_served(self) -> list[Served]:
        """The calls so far, which are then forgotten."""
        with self._lock:
            taken, self._served = self._served, []
        return taken

    def take_compared(self) -> list[Compared]:
        """The comparisons so far, which are then forgotten."""
        with self._lock:
            taken, self._compared = self._compared, []
        return taken


_KEPT_LINES = 5000
_OF_WHOLE_CALL = " reason="  # only the span of the call as a whole, which ends last, carries the decision


class TraceLines(io.StringIO):
    """Takes the place of a terminal; keeps the last lines that were printed."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)

    def write(self, text: str) -> int:
        """Keep a printed line."""
        self._lines.append(text)
        return len(text)

    def of_trace(self, traceparent: str | None) -> list[str]:
        """The lines of one trace, in the order in which the spans began, without the id that they all have."""
        if traceparent is None:
            return []
        mark = f" trace={traceparent.split('-')[1]}"
        return [line.replace(mark, "").rstrip() for line in sorted(self._lines.copy()) if mark in line]

    def is_complete(self, traceparent: str | None) -> bool:
        """Whether all spans of the trace have been printed."""
        return any(_OF_WHOLE_CALL in line for line in self.of_trace(traceparent))
