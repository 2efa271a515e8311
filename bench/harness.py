"""What a benchmark is made of.

A `Row` is one piece of work that several `Contender`s do in turn, round by round. Every run happens in a fresh process:
it imports the contender's entry, lets it warm up, and measures `run()`. Contenders are compared within a round, so a
machine whose speed drifts does not favour anyone; what is reported is the median and the quartiles of those ratios.

To add a benchmark, write a module with a function `rows(scale)` (and, for work that grows, `growths(scale)`), and name
it in `bench.__main__.MODULES`. A contender's entry is a context manager that prepares the work and yields it::

    @contextmanager
    def migrator(job: Job) -> Iterator[Work]:
        client = make_client()
        yield Repeated(lambda: client.write(...), times=job.options["calls"])

    Row(
        name="routed-call",
        title="A routed call that does nothing",
        unit="calls",
        units=10_000,
        contenders=(Contender(name="Migrator", entry="bench.routing:migrator", options={"calls": 10_000}), ...),
        reference="Migrator",
        goals=(Goal(contender="shim", figure=Figure.COST, to=("Migrator",), at_most=1.0),),
        rounds=9,
    )

An asynchronous context manager yields `AsyncWork`; it runs on a loop of its own, uvloop's if the contender says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

Figures = Mapping[str, float]
"""What was measured in one run, by name; see `Figure`."""


class Figure(StrEnum):
    """What every run is measured for. `run()` may return further figures under names of their own."""

    WALL = "wall_seconds"
    CPU = "cpu_seconds"
    """User and system time of all threads of the process, as the operating system counts it."""
    RATE = "rate"
    """Units a second."""
    COST = "cpu_per_1000"
    """CPU seconds for 1000 units: for MB that is CPU seconds a GB, for calls milliseconds of CPU a call."""
    MEMORY = "memory_mib"
    """Peak of the resident memory above what the process held after its imports and its warm-up, in MiB."""
    STALL_P99 = "stall_p99_ms"
    """99th percentile of how late the event loop was for a tick, in milliseconds; only if the row asks for it."""
    STALL_MAX = "stall_max_ms"


class Work(Protocol):
    """What a contender does."""

    def warm_up(self) -> None:
        """Do a tiny piece of the work, so that nothing is done for the first time when it is measured."""
        ...

    def run(self) -> Figures | None:
        """Do the work. Figures that are returned are added to the measured ones, or replace them; NaN removes one."""
        ...


class AsyncWork(Protocol):
    """As `Work`, on an event loop."""

    async def warm_up(self) -> None:
        """As `Work.warm_up`."""
        ...

    async def run(self) -> Figures | None:
        """As `Work.run`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The sink, as a contender sees it.

    Attributes:
        url: base address; files are posted to `/files` below it, as at a provider.
        authority: certificate to trust, if it speaks TLS. Clients find it through `SSL_CERT_FILE` and its siblings.
    """

    url: str
    authority: Path | None = None

    @property
    def files_url(self) -> str:
        """Where files are posted."""
        return f"{self.url}/files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What an entry is given.

    Attributes:
        options: those of the contender, over those of the row.
        folder: an empty folder of this run, removed afterwards.
        server: the sink, if the row has one.
    """

    options: Mapping[str, Any]
    folder: Path
    server: Server | None = None

    @property
    def sink(self) -> Server:
        """The sink of a row that has one.

        Raises:
            LookupError: it has none.
        """
        if self.server is None:
            raise LookupError("this row has no sink; give it one with `sink=`")
        return self.server


Entry = Callable[[Job], AbstractContextManager[Work] | AbstractAsyncContextManager[AsyncWork]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A contender that does a row's work.

    Attributes:
        name: as it is shown, unique in its row.
        entry: "module:function" of its `Entry`.
        options: what its entry is told, beside the row's options; values that JSON can hold.
        environment: variables of its process.
        uvloop: its event loop is uvloop's.
        needs: the program it needs; where that is missing, the contender is left out and the results say so.
        share: for the very slow: the part of the row's work that it does. Its entry has to obey
            `job.options["share"]`; rate and cost stay comparable.
    """

    name: str
    entry: str
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    uvloop: bool = False
    needs: str | None = None
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is to be reached: a bound on a figure, or on its ratio to another contender's figure of the same round.

    Attributes:
        contender: whose figure.
        figure: which one.
        to: whose figure it is divided by; several are added up; none: the figure itself is bounded.
        at_least: smallest median that reaches the goal.
        at_most: largest median that reaches the goal.
    """

    contender: str
    figure: str
    to: tuple[str, ...] = ()
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkWish:
    """The server that a row needs.

    Attributes:
        tls: it speaks HTTPS.
        latency_ms: how long it waits before it answers an upload.
        files: how many uploads it must have got after a run, beside the warm-up.
        file_bytes: bytes of those files together; the forms around them add a little.
    """

    tls: bool = False
    latency_ms: int = 0
    files: int
    file_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One piece of work and those who do it.

    Attributes:
        name: what `--only` takes; letters, digits and hyphens.
        title: what is done, in words.
        unit: what `Figure.RATE` counts: "MB", "files", "calls".
        units: how many of them one run does.
        contenders: who does it, the ones of this project first.
        reference: the contender to whom the page compares all others.
        goals: what is to be reached.
        rounds: how often everybody does it.
        options: what all entries are told.
        prepare: called before the first run: makes what they need.
        sink: the server it needs, if any.
        stalls: whether the event loop's stalls are measured.
        timeout_seconds: how long one run may take.
    """

    name: str
    title: str
    unit: str
    units: float
    contenders: tuple[Contender, ...]
    reference: str
    goals: tuple[Goal, ...] = ()
    rounds: int
    options: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[], object] | None = None
    sink: SinkWish | None = None
    stalls: bool = False
    timeout_seconds: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A figure that is drawn over the size of the work.

    Attributes:
        figure: which one.
        label: of the axis, with the unit.
        per_unit: it is divided by thousands of the row's units, so it stays flat as long as cost grows no faster than
            the work.
        per_point: it is divided by the point's x, likewise.
    """

    figure: str
    label: str
    per_unit: bool = False
    per_point: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The same work in several sizes: how cost grows.

    Attributes:
        name: what `--only` takes.
        title: what grows, in words.
        x_label: of the axis along which it grows, with the unit.
        points: size and row; every row has the same contenders.
        curves: what is drawn, a plot each.
    """

    name: str
    title: str
    x_label: str
    points: tuple[tuple[float, Row], ...]
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How thorough a run is.

    Attributes:
        quick: fewer rounds, sizes and contenders: two minutes for everything.
        files: folder of the files that are uploaded; made once, used by all rows.
        most_rounds: no row has more; fewer make a shorter run with wider quartiles.
    """

    quick: bool
    files: Path
    most_rounds: int = 100

    def rounds(self, full: int, *, quick: int = 1) -> int:
        """How many rounds a row has that takes `full` of them in a thorough run and `quick` in a quick one."""
        return min(quick if self.quick else full, self.most_rounds)


class Repeated:
    """Work that is one short call, many times over."""

    def __init__(self, call: Callable[[], object], *, times: int, warm_up_times: int = 200) -> None:
        self._call = call
        self._times = times
        self._warm_up_times = warm_up_times

    def warm_up(self) -> None:
        """Call a few times."""
        self._repeat(self._warm_up_times)

    def run(self) -> None:
        """Call as often as told."""
        self._repeat(self._times)

    def _repeat(self, times: int) -> None:
        call = self._call
        for _ in range(times):
            call()


# What can go wrong with a benchmark.


class BenchError(Exception):
    """Base of all errors of this package; the text says what happened and what to do."""


class MissingProgramError(BenchError):
    """A program that is needed is neither there nor could it be installed."""

    def __init__(self, program: str, *, package: str, reason: str) -> None:
        self.program = program
        super().__init__(f"{program} is missing and could not be installed ({reason}); install Debian's {package}")


class SinkError(BenchError):
    """The server that takes the uploads does not work."""


class UnknownRowError(BenchError):
    """`--only` names something that is not there."""

    def __init__(self, names: set[str], known: list[str]) -> None:
        super().__init__(f"there is no {', '.join(sorted(names))}; there are {', '.join(known)}")


class NoResultsError(BenchError):
    """There are no results to make a page of."""


class RunFailedError(BenchError):
    """A contender did not do its work; it is disqualified."""
