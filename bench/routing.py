"""A routed call that does nothing: what routing and telemetry add to a call, against others who do the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.harness import Contender, Curve, Figure, Goal, Growth, Row, Scale

_OWN = "bench.routing_own"
_PEERS = "bench.routing_peers"

_SHIM = "shim"
_LAUNCHDARKLY = "LaunchDarkly, hook with spans"
_LAUNCHDARKLY_EVENTS = "LaunchDarkly, hook without"
_LABORATORY = "laboratory"

_shim = Contender(name=_SHIM, entry=f"{_OWN}:shim")
_with_ledger = Contender(name="shim with its ledger", entry=f"{_OWN}:shim", options={"ledger": True})
_launchdarkly = Contender(name=_LAUNCHDARKLY, entry=f"{_PEERS}:launchdarkly", options={"spans": True})
_launchdarkly_events = Contender(name=_LAUNCHDARKLY_EVENTS, entry=f"{_PEERS}:launchdarkly")
_laboratory = Contender(name=_LABORATORY, entry=f"{_PEERS}:laboratory")
_laboratory_one = replace(_laboratory, name="laboratory, no choice of who serves", options={"flags": 1})

_ROUTED = Contender(name=_SHIM, entry=f"{_OWN}:shim", options={"telemetry": False})
_WRAPPED = Contender(name="wrapt, and both flags asked in UnleashClient", entry=f"{_PEERS}:wrapped")

_EVALUATIONS = Contender(name="part: two flags, asked in UnleashClient", entry=f"{_OWN}:evaluations")
_SPANS = Contender(name="part: two spans", entry=f"{_OWN}:spans")
_METRICS = Contender(name="part: a duration recorded", entry=f"{_OWN}:metrics")
_PARTS_AWAITED = Contender(name="its parts, and the way to another loop", entry=f"{_OWN}:parts_awaited")
_PARTS = (_EVALUATIONS, _SPANS, _METRICS)

_CALLS = 3000
_THREADS = 8
_FLAGS = (1, 3, 10, 30, 100)


def rows(scale: Scale) -> Sequence[Row]:
    """One thread, eight threads, a caller that awaits, and routing without telemetry."""
    return [_one_after_the_other(scale), _threads(scale), _awaited(scale), _routing_alone(scale)]


def growths(scale: Scale) -> Sequence[Growth]:
    """More migrations behind flags of their own in one process."""
    return [
        Growth(
            name="growth-flags",
            title="More flags",
            x_label="migrations, two flags each",
            points=tuple((number, _of_many(scale, number)) for number in (_FLAGS[::4] if scale.quick else _FLAGS)),
            curves=(
                Curve(figure=Figure.COST, label="CPU milliseconds a call"),
                Curve(figure=Figure.MEMORY, label="memory in MiB"),
            ),
        )
    ]


def _at_most(limit: float, *to: str) -> Goal:
    return Goal(contender=_SHIM, figure=Figure.COST, to=to, at_most=limit)


def _one_after_the_other(scale: Scale) -> Row:
    peers = [_launchdarkly, _laboratory]
    others = [] if scale.quick else [_launchdarkly_events, _laboratory_one, _with_ledger]
    return Row(
        name="routed-call",
        title="A routed call that does nothing: flags, spans, a duration",
        unit="calls",
        units=_CALLS,
        contenders=(_shim, *peers, *others, *_PARTS),
        reference=_SHIM,
        goals=(
            _at_most(1.3, *(part.name for part in _PARTS)),
            _at_most(1.0, _LAUNCHDARKLY),
            _at_most(1.0, _LABORATORY),
        ),
        rounds=scale.rounds(9, quick=3),
        options={"calls": _CALLS},
    )


def _threads(scale: Scale) -> Row:
    return Row(
        name="routed-call-threads",
        title=f"The same call from {_THREADS} threads",
        unit="calls",
        units=_CALLS,
        contenders=(_shim, _launchdarkly, _laboratory),
        reference=_SHIM,
        goals=(_at_most(1.0, _LAUNCHDARKLY), _at_most(1.0, _LABORATORY)),
        rounds=scale.rounds(7),
        options={"calls": _CALLS, "threads": _THREADS},
    )


def _awaited(scale: Scale) -> Row:
    return Row(
        name="routed-call-aio",
        title="The same call, awaited; an asynchronous implementation serves it",
        unit="calls",
        units=_CALLS,
        contenders=(replace(_shim, entry=f"{_OWN}:shim_awaited"), _PARTS_AWAITED),
        reference=_SHIM,
        goals=(_at_most(1.3, _PARTS_AWAITED.name),),
        rounds=scale.rounds(7),
        options={"calls": _CALLS},
    )


def _routing_alone(scale: Scale) -> Row:
    return Row(
        name="routed-call-alone",
        title="A call at 0 %, without telemetry",
        unit="calls",
        units=_CALLS,
        contenders=(_ROUTED, _WRAPPED),
        reference=_SHIM,
        goals=(_at_most(1.0, _WRAPPED.name),),
        rounds=scale.rounds(9, quick=3),
        options={"calls": _CALLS},
    )


def _of_many(scale: Scale, number: int) -> Row:
    return Row(
        name=f"growth-flags-{number}",
        title=f"A call of each of {number} migrations in turn",
        unit="calls",
        units=_CALLS,
        contenders=(_shim, _launchdarkly),
        reference=_SHIM,
        rounds=scale.rounds(5),
        options={"calls": _CALLS, "migrations": number},
    )
