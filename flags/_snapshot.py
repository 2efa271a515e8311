"""One state of all flags: the definitions as they came, and a client that evaluates exactly these."""

from __future__ import annotations

from dataclasses import dataclass

from UnleashClient.clients.unleash_client import UnleashClient

from flags._client import make_offline_client
from flags._definitions import Rule, parse_definitions, read_rule
from flags._errors import FlagDefinitionsError, FlagNotFoundError
from flags._odds import Context, Odds
from migration import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One flag, evaluated for one call.

    Attributes:
        enabled: whether the flag is on for this call.
        probability: how probable that was, 0..1 (see `flags._odds`).
        reason: why.
        version: fingerprint of the definition, or None if there is none.
        error: type name of what is wrong with the flag.
    """

    enabled: bool
    probability: float
    reason: Reason
    version: str | None = None
    error: str | None = None


class Snapshot:
    """An immutable state of all flags.

    Raises:
        FlagDefinitionsError: the payload is broken, or the engine refuses it.
    """

    def __init__(self, payload: str, *, app_name: str) -> None:
        definitions = parse_definitions(payload)
        self.payload = payload
        self._features = {feature["name"]: feature for feature in definitions["features"]}
        self.client = make_offline_client(payload, app_name)
        # One malformed flag makes the engine drop the whole payload without a word, and keep what it had before.
        if self.client.feature_definitions().keys() != self._features.keys():
            raise FlagDefinitionsError("the Unleash engine refuses them; a flag in it is malformed")
        self._segments = {segment.get("id"): segment for segment in definitions.get("segments") or ()}
        self.asked: dict[str, Context] = {}
        self._rules: dict[str, tuple[Rule, Odds]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all flags, sorted."""
        return tuple(sorted(self._features))

    def warm_up(self, previous: Snapshot | None) -> None:
        """Work out beforehand what the previous snapshot was asked for, so that no caller waits for it."""
        for name, context in list(previous.asked.items()) if previous else ():
            self.evaluate(name, context, self.client)

    def evaluate(self, name: str, context: Context, client: UnleashClient) -> Evaluation:
        """Evaluate one flag with `client`, which must hold this very state."""
        if name not in self._features:
            return Evaluation(enabled=False, probability=0.0, reason=Reason.DEFAULT, error=FlagNotFoundError.__name__)
        self.asked[name] = context
        rule, odds = self._rules.get(name) or self._read(name)
        if rule.flaw is not None:
            flaw = type(rule.flaw).__name__
            return Evaluation(enabled=False, probability=0.0, reason=Reason.ERROR, version=rule.version, error=flaw)
        enabled = client.is_enabled(name, dict(context))
        probability = odds.of(context) if rule.enabled else 0.0
        return Evaluation(
            enabled=enabled, probability=probability, reason=_reason(rule, probability), version=rule.version
        )

    def _read(self, name: str) -> tuple[Rule, Odds]:
        rule = read_rule(name, self._features, self._segments)
        entry = (rule, Odds(rule, lambda flag, context: self.client.is_enabled(flag, dict(context))))
        return self._rules.setdefault(name, entry)


def _reason(rule: Rule, probability: float) -> Reason:
    if not rule.enabled:
        return Reason.DISABLED
    if 0.0 < probability < 1.0:
        return Reason.SPLIT
    if not rule.reads:
        return Reason.STATIC
    return Reason.TARGETING_MATCH if probability else Reason.DEFAULT
