"""The state of all flags, evaluated by Unleash's engine, and where it comes from and how fresh it is."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event

from flags.definitions import FlagRule, Json, parse_definitions, read_rule
from flags.errors import (
    FlagDefinitionsError,
    FlagError,
    FlagNotFoundError,
    FlagsNotReadyError,
    FlagsStaleError,
    RouterClosedError,
)
from flags.probability import Context, Engine, ProbabilityFinder
from migration import Reason
from migration.forking import new_lock
from migration.threads import BackgroundThread

_log = logging.getLogger("flags")

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> float:
    """Seconds that never go back, whatever the time of day is set to; the machine's sleep counts if it tells."""
    return time.clock_gettime(_CLOCK)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """One flag, evaluated for one call. A snapshot gives the same object again for what comes out the same again.

    Attributes:
        enabled: whether the flag is on for this call.
        probability: how probable that was, 0..1 (see `flags.probability`).
        reason: why.
        version: fingerprint of the definition, or None if there is none.
        error: type name of what is wrong with the flag.
    """

    enabled: bool
    probability: float
    reason: Reason
    version: str | None = None
    error: str | None = None


_NOT_FOUND = Evaluation(enabled=False, probability=0.0, reason=Reason.DEFAULT, error=FlagNotFoundError.__name__)


class FlagSnapshot:
    """An immutable state of all flags.

    Raises:
        FlagDefinitionsError: the payload is broken, or the engine refuses it.
    """

    def __init__(self, payload: str, *, app_name: str) -> None:
        definitions = parse_definitions(payload)
        self._features = {feature["name"]: feature for feature in definitions["features"]}
        self.engine = Engine(payload, app_name=app_name)
        if self.engine.names() != self._features.keys():
            raise FlagDefinitionsError("the Unleash engine refuses them; a flag in it is malformed")
        self._segments = {segment.get("id"): segment for segment in definitions.get("segments") or ()}
        self.asked: dict[str, Context] = {}
        self._evaluators: dict[str, _FlagEvaluator] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all flags, sorted."""
        return tuple(sorted(self._features))

    def warm_up(self, previous: FlagSnapshot | None) -> None:
        """Work out beforehand what the previous snapshot was asked for, so that no caller waits for it."""
        for name, context in list(previous.asked.items()) if previous else ():
            self.evaluate(name, context)

    def evaluate(self, name: str, context: Context, written: bytes | None = None) -> Evaluation:
        """Evaluate one flag.

        Args:
            name: the flag.
            context: what is known of the call.
            written: the same, as `engine.write` writes it, for a caller that asks about several flags.

        Raises:
            FlagEvaluationError: the engine cannot say.
        """
        evaluator = self._evaluators.get(name)
        if evaluator is None:
            if name not in self._features:
                return _NOT_FOUND
            evaluator = self._evaluators.setdefault(
                name, _FlagEvaluator(self.engine, name, self._features, self._segments)
            )
        self.asked[name] = context
        return evaluator.evaluate(context, self.engine.write(context) if written is None else written)


class _FlagEvaluator:
    """Evaluates one flag of a snapshot."""

    def __init__(
        self, engine: Engine, name: str, features: Mapping[str, Json], segments: Mapping[object, Json]
    ) -> None:
        self._engine = engine
        self._name = name.encode()
        self._rule = read_rule(name, features, segments)
        self._probability = ProbabilityFinder(self._rule, engine)
        self._flawed = _flawed(self._rule)
        self._made: dict[tuple[bool, float], Evaluation] = {}

    def evaluate(self, context: Context, written: bytes) -> Evaluation:
        rule = self._rule
        if self._flawed is not None:
            return self._flawed
        enabled = self._engine.is_enabled(self._name, written)
        probability = self._probability.of(context) if rule.enabled else 0.0
        made = self._made.get((enabled, probability))
        if made is None:
            made = self._made[enabled, probability] = Evaluation(
                enabled=enabled, probability=probability, reason=_reason(rule, probability), version=rule.version
            )
        return made


def _flawed(rule: FlagRule) -> Evaluation | None:
    """What comes out of a flag whose definition has a flaw."""
    if rule.flaw is None:
        return None
    flaw = type(rule.flaw).__name__
    return Evaluation(enabled=False, probability=0.0, reason=Reason.ERROR, version=rule.version, error=flaw)


def _reason(rule: FlagRule, probability: float) -> Reason:
    if not rule.enabled:
        return Reason.DISABLED
    if 0.0 < probability < 1.0:
        return Reason.SPLIT
    if not rule.reads:
        return Reason.STATIC
    return Reason.TARGETING_MATCH if probability else Reason.DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How old definitions may be.

    Attributes:
        doubtful_after: seconds after which decisions are still taken but marked as stale.
        dead_after: seconds after which nothing is decided from them: everything goes to legacy.
    """

    doubtful_after: float = 10.0
    dead_after: float = 60.0


class FlagSource(ABC):
    """Keeps a snapshot of the flags up to date in the background; reading it never blocks.

    Args:
        thread: the name of the thread that fetches.
        interval: seconds between two fetches.
        app_name: the `appName` that constraints see.
        freshness: how old definitions may become.
        clock: seconds that never go back.
    """

    kind: str

    def __init__(
        self, *, thread: str, interval: float, app_name: str, freshness: Freshness, clock: Callable[[], float]
    ) -> None:
        self._interval = interval
        self._app_name = app_name
        self._freshness = freshness
        self._clock = clock
        self._lock = new_lock()
        self._thread = BackgroundThread(self._fetch, name=thread)
        self._fetched_at = clock()
        self._followed = Event()
        self._stopping = Event()
        self._snapshot: FlagSnapshot | None = None
        self._confirmed_at: float | None = None
        self._failure: FlagError | None = FlagsNotReadyError()
        self._answered = Event()
        self._closed = False

    def start(self, timeout: float) -> None:
        """Fetch once in the background, and wait for that, at most `timeout` seconds."""
        if self._thread.start():
            self._answered.wait(timeout)

    def follow(self, timeout: float) -> None:
        """Go on fetching from now on. Wait for the next fetch if one is due, at most `timeout` seconds."""
        if self._clock() - self._fetched_at > self._interval:
            self._answered.clear()
        self._followed.set()
        if self._thread.start():
            self._answered.wait(timeout)

    def go_on(self) -> None:
        """Begin again to fetch if the thread was refused or died; for each decision, as it costs next to nothing."""
        if not self._closed:
            self._thread.start()

    def close(self, timeout: float) -> None:
        """Decide nothing any more and stop, within about `timeout` seconds."""
        self._closed = True
        self._stopping.set()
        self._followed.set()
        self._thread.join(timeout)

    @abstractmethod
    def _refresh(self) -> None:
        """Fetch: confirm or publish what was found, or note the failure. Never raises."""

    def _fetch(self) -> None:
        self._refresh()
        self._fetched_at = self._clock()
        self._followed.wait()
        pause = max(0.0, self._interval - (self._clock() - self._fetched_at))
        while not self._stopping.wait(pause):  # by the monotonic clock: the other one may be set back
            self._refresh()
            pause = self._interval

    @abstractmethod
    def count(self, name: str, *, enabled: bool) -> None:
        """Count an evaluation of a flag, for reports of how it is used."""

    def snapshot(self) -> FlagSnapshot:
        """The state of the flags in force.

        Raises:
            RouterClosedError: after `close`.
            FlagsStaleError: it was not confirmed for too long.
            FlagError: there is none; the error says why.
        """
        if self._closed:
            raise RouterClosedError
        snapshot = self._snapshot
        if snapshot is None:
            raise self._failure or FlagsNotReadyError()
        if self.age > self._freshness.dead_after:
            raise FlagsStaleError(self.age)
        return snapshot

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def age(self) -> float:
        """Seconds since the definitions were last confirmed; infinite if they never were."""
        confirmed_at = self._confirmed_at
        return float("inf") if confirmed_at is None else self._clock() - confirmed_at

    @property
    def is_doubtful(self) -> bool:
        """Whether the definitions have not been confirmed for a while."""
        return self.age > self._freshness.doubtful_after

    @property
    def failure(self) -> FlagError | None:
        """What went wrong last, if nothing went right since."""
        return self._failure

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all flags known, sorted."""
        snapshot = self._snapshot
        return snapshot.names if snapshot else ()

    def _read(self, payload: str) -> FlagSnapshot:
        """Read new definitions and work out what callers will ask.

        Raises:
            FlagDefinitionsError: they are broken, in whatever way: the thread that reads them must live on.
        """
        try:
            snapshot = FlagSnapshot(payload, app_name=self._app_name)
            snapshot.warm_up(self._snapshot)
        except FlagDefinitionsError:
            raise
        except Exception as error:
            raise FlagDefinitionsError(f"they make the reader fail ({type(error).__name__})") from error
        return snapshot

    def _publish(self, snapshot: FlagSnapshot) -> None:
        with self._lock:
            self._snapshot = snapshot

    def _confirm(self, asked_at: float) -> None:
        """Note that the definitions in force are those of the origin as of `asked_at`, in the clock's seconds."""
        with self._lock:
            recovered = self._failure
            self._confirmed_at, self._failure = asked_at, None
        if recovered is not None:
            _log.info("flags from %s are up to date", self.kind)
        self._answered.set()

    def _fail(self, failure: FlagError, *, forget: bool = False, level: int = logging.WARNING) -> None:
        """Note a failure, and log it once; `forget` also drops the definitions, so that everything goes to legacy."""
        with self._lock:
            repeated = str(self._failure) == str(failure)
            self._failure = failure
            if forget:
                self._snapshot = None
        if not repeated:
            _log.log(level, "flags from %s: %s", self.kind, failure)
        self._answered.set()
