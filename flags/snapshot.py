"""One state of all flags: the definitions as they came, and an engine that evaluates exactly these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flags.definitions import FlagRule, Json, parse_definitions, read_rule
from flags.errors import FlagDefinitionsError, FlagNotFoundError
from flags.probability import Context, Engine, ProbabilityFinder
from migration import Reason


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


class Snapshot:
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

    def warm_up(self, previous: Snapshot | None) -> None:
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
