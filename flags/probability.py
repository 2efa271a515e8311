"""The probability with which a flag comes out on, found by asking the engine about made-up stickiness values.

The engine decides within 2 µs. `UnleashClient.is_enabled` takes 27: it fills in the context for each flag, crosses
the border to the engine six times and parses three answers. Here the context is written once a call, the border is
crossed twice a flag, and the answer is compared with the ones that there are. It is the same engine and it is given
the same words, which a test proves.

The figure answers: of all values that the rollout's stickiness field could have had for this call, which share would
have turned the flag on, everything else of the call being as it is? A field that a constraint, a segment or a list of
users looks at is part of "everything else", so a call that is targeted by name has 1 (or 0), not the rollout's share.
The bucket is no such field: it is drawn like the stickiness value, because it is as random.
"""

from __future__ import annotations

import ctypes
import json
import random
from collections.abc import Mapping
from functools import lru_cache
from itertools import count
from typing import Any, Final, TypeAlias

from UnleashClient.utils import normalized_hash
from yggdrasil_engine.engine import UnleashEngine  # type: ignore[import-untyped]  # ships no types

from flags.definitions import BUCKET, BUCKETS, FlagRule, RolloutStrategy
from flags.errors import FlagEvaluationError

Context: TypeAlias = Mapping[str, Any]
"""What is known of a call, in Unleash's words (https://docs.getunleash.io/reference/unleash-context)."""

_PROPERTIES: Final = "properties"
_FIELDS: Final = frozenset({"userId", "sessionId", "environment", "appName", "currentTime", "remoteAddress"})
_ENVIRONMENT: Final = "default"  # the client's default; the server's token chooses the real one
_to_json: Final = json.JSONEncoder().encode
_NO_CUSTOM_STRATEGIES: Final = b"{}"
_ANSWERS: Final = {
    b'{"status_code":"Ok","value":true,"error_message":null}': True,
    b'{"status_code":"Ok","value":false,"error_message":null}': False,
}


class Engine:
    """One state of all flags, which never changes.

    Args:
        payload: what Unleash's client API answers.
        app_name: the `appName` that constraints see.
    """

    def __init__(self, payload: str, *, app_name: str) -> None:
        self._engine = UnleashEngine()
        self._static = {"appName": app_name, "environment": _ENVIRONMENT}
        # Calls that keep the GIL: giving it up for 2 µs can cost a thread 5 ms among others that want it. None
        # waits inside, because no state is loaded into this engine while it is asked.
        library = ctypes.PyDLL(self._engine.lib._name, handle=self._engine.lib._handle)  # noqa: SLF001  # documented
        self._check, self._free = library.check_enabled, library.free_response
        self._check.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p]
        self._check.restype = ctypes.c_void_p
        self._free.argtypes, self._free.restype = [ctypes.c_void_p], None
        self._free(ctypes.cast(self._engine.lib.take_state(self._engine.state, payload.encode()), ctypes.c_void_p))

    def names(self) -> set[str]:
        """The flags that the engine has taken; it drops a payload with a malformed flag without a word."""
        return {flag.name for flag in self._engine.list_known_toggles()}

    def write(self, context: Context) -> bytes:
        """The context as the engine reads it: text only, and fields that Unleash does not know among the properties."""
        fields: dict[str, object] = dict(self._static)
        properties = {name: str(value) for name, value in context.get(_PROPERTIES, {}).items()}
        for name, value in context.items():
            if name in _FIELDS:
                fields[name] = str(value)
            elif name != _PROPERTIES:
                properties[name] = str(value)
        fields[_PROPERTIES] = properties
        return _to_json(fields).encode()

    def is_enabled(self, name: bytes, written: bytes) -> bool:
        """Whether a flag is on for a context that `write` has written.

        Raises:
            FlagEvaluationError: the engine cannot say.
        """
        address = self._check(self._engine.state, name, written, _NO_CUSTOM_STRATEGIES)
        answer = ctypes.string_at(address)
        self._free(address)
        try:
            return _ANSWERS[answer]
        except KeyError:
            raise FlagEvaluationError(name.decode(), str(json.loads(answer).get("status_code"))) from None


# The probability with which a flag comes out on, found by asking the engine about made-up stickiness values.

_BUCKETS = 100  # Unleash takes shares in whole percent: hash % 100 + 1 <= rollout
_SAMPLES = 400  # where buckets cannot be walked; the standard error is at most 2.5 points
_CACHED = 1024
_DEFAULT_FIELDS = ("userId", "sessionId")  # what `default` stickiness looks for, in this order


class ProbabilityFinder:
    """The probabilities of one flag's definition, remembered for each context that makes a difference."""

    def __init__(self, rule: FlagRule, engine: Engine) -> None:
        self._rule = rule
        self._name = rule.name.encode()
        self._engine = engine
        self._sticks_to = tuple(dict.fromkeys(field for rollout in rule.rollouts for field in _candidates(rollout)))
        drawn = rule.cuts is not None and BUCKET not in self._sticks_to
        self._cuts = rule.cuts if drawn else None
        self._given = tuple(field for field in rule.reads if not (drawn and field == BUCKET))
        self._known: dict[tuple[object, ...], float] = {}

    def of(self, context: Context) -> float:
        """The probability (0..1) of the flag being on for this context."""
        if "currentTime" in self._rule.reads:
            return self._find(context)
        key = (
            *[_place(context, field) for field in self._sticks_to],
            *[_value(context, field) for field in self._given],
            _place(context, BUCKET),
        )
        probability = self._known.get(key)
        if probability is None:
            probability = self._find(context)
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known[key] = probability
        return probability

    def _drawn(self, rollout: RolloutStrategy, context: Context) -> RolloutStrategy | None:
        """The rollout with its field resolved as Unleash does, or None if the call's own value is to be kept."""
        field = rollout.field
        if field == "default":
            field = next((name for name in _DEFAULT_FIELDS if name in context), "random")
        if field == "random":
            return RolloutStrategy(field=field, group="")
        if field in self._rule.reads or _value(context, field) is None:
            return None
        return RolloutStrategy(field=field, group=rollout.group)

    def _find(self, context: Context) -> float:
        if self._cuts is None or not _place(context, BUCKET):
            return self._find_within(context)
        ends = (*self._cuts[1:], BUCKETS)
        return sum(
            (end - start) / BUCKETS * self._find_within(_with(context, {BUCKET: str(start)}))
            for start, end in zip(self._cuts, ends, strict=True)
        )

    def _find_within(self, context: Context) -> float:
        """The probability as long as the bucket stays within a range whose buckets evaluate alike."""
        rollouts = tuple(filter(None, (self._drawn(rollout, context) for rollout in self._rule.rollouts)))
        distinct = set(rollouts)
        if not distinct:
            return float(self._is_enabled(context))
        if len(distinct) == 1 and not self._rule.has_parents and rollouts[0].field != "random":
            return self._walk_buckets(rollouts[0], context)
        return self._sample(rollouts, context)

    def _is_enabled(self, context: Context) -> bool:
        return self._engine.is_enabled(self._name, self._engine.write(context))

    def _walk_buckets(self, rollout: RolloutStrategy, context: Context) -> float:
        """Exact: with one hash the flag is on up to some bucket and off above it. Bisect for that bucket."""
        values = _values_by_bucket(rollout.group, each=1)
        on, off = 0, _BUCKETS + 1
        while off - on > 1:
            bucket = (on + off) // 2
            if self._is_enabled(_with(context, {rollout.field: values[bucket - 1]})):
                on = bucket
            else:
                off = bucket
        return on / _BUCKETS

    def _sample(self, rollouts: tuple[RolloutStrategy, ...], context: Context) -> float:
        """An estimate: draw all fields many times. The first hash of each field is spread evenly, hence exact."""
        drawn = {rollout.field: _shuffled(rollout) for rollout in reversed(rollouts)}
        hits = sum(
            self._is_enabled(_with(context, dict(zip(drawn, values, strict=True))))
            for values in zip(*drawn.values(), strict=True)
        )
        return hits / _SAMPLES


@lru_cache(maxsize=128)
def _values_by_bucket(group: str, *, each: int) -> tuple[str, ...]:
    """Made-up stickiness values, `each` for each bucket of this group, ordered by bucket."""
    found: dict[int, list[str]] = {bucket: [] for bucket in range(1, _BUCKETS + 1)}
    missing = _BUCKETS * each
    for value in map(str, count()):
        values = found[normalized_hash(value, group)]
        if len(values) < each:
            values.append(value)
            missing -= 1
        if not missing:
            break
    return tuple(value for values in found.values() for value in values)


def _shuffled(rollout: RolloutStrategy) -> list[str]:
    """Values spread evenly over the rollout's buckets, in an order of their own, so that fields are independent."""
    values = list(_values_by_bucket(rollout.group, each=_SAMPLES // _BUCKETS))
    random.Random(rollout.field).shuffle(values)  # noqa: S311 - reproducible on purpose
    return values


def _candidates(rollout: RolloutStrategy) -> tuple[str, ...]:
    """The fields that the rollout may stick to."""
    return _DEFAULT_FIELDS if rollout.field == "default" else (rollout.field,)


def _place(context: Context, field: str) -> int:
    """Where the context has this field: 2, at its top; 1, among its properties; 0, nowhere."""
    return 2 if field in context else int(field in context.get("properties", ()))


def _value(context: Context, field: str) -> Any:
    return context[field] if field in context else context.get("properties", {}).get(field)


def _with(context: Context, values: Mapping[str, str]) -> Context:
    drawn = dict(context)
    properties = dict(context.get("properties", {}))
    for field, value in values.items():
        target = properties if field in properties and field not in context else drawn
        target[field] = value
    return {**drawn, "properties": properties}
