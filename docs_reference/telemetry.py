"""The page of telemetry names: metrics with kind and unit, attributes, events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from docs_reference import code, page, table
from migration import Side
from migration.guard import GuardFigures
from observability.instruments import Instruments, Sources
from observability.names import Attribute, Event

_KINDS = {
    "create_histogram": "histogram",
    "create_counter": "counter",
    "create_observable_counter": "counter",
    "create_up_down_counter": "up-down counter",
    "create_observable_up_down_counter": "up-down counter",
    "create_observable_gauge": "gauge",
}


def telemetry_page() -> str:
    """Every name that this program uses."""
    return page(
        "Telemetry",
        "What each says, and how they belong together, is [explained by hand](../telemetry.md).",
        "## Metrics",
        table(("metric", "kind", "unit", "meaning"), sorted(_metrics())),
        "## Events",
        table(("event",), [(code(event),) for event in sorted(Event)]),
        "## Attributes",
        table(("attribute",), [(code(attribute),) for attribute in sorted(Attribute)]),
        f"`{Attribute.SIDE}` is {' or '.join(map(code, sorted(Side)))}.",
    )


def _metrics() -> list[tuple[str, str, str, str]]:
    meter = _Noting()
    noting: Any = meter
    Instruments(noting, Sources(guard=_no_figures))
    return meter.made


def _no_figures() -> GuardFigures:
    return GuardFigures(evidence={}, tripped=frozenset(), rulings={}, memory_limit=None)


class _Noting:
    """Passes for a meter; notes what it is asked to make."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str, str, str]] = []

    def __getattr__(self, name: str) -> Callable[..., object]:
        def create(*given: Any, **others: Any) -> object:
            metric, *rest = given
            unit, meaning = [*(each for each in rest if isinstance(each, str)), *_texts(others)][:2]
            self.made.append((code(str(metric)), _KINDS[name], code(str(unit)), meaning))
            return None

        if name not in _KINDS:
            raise AttributeError(name)
        return create


def _texts(others: dict[str, Any]) -> list[str]:
    return [others[name] for name in ("unit", "description") if name in others]
