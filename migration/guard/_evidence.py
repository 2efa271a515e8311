"""The evidence against a candidate, from all signals together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from migration.guard._labels import LabelProcess, StrangerProcess, log_mean
from migration.guard._model import Action, BadCall, Signal

WEIGHTS: Mapping[Signal, float] = {
    Signal.ERROR: 0.35,
    Signal.TIMEOUT: 0.20,
    Signal.MISMATCH: 0.20,
    Signal.LATENCY: 0.15,
    Signal.STRANGER: 0.10,
}
"""How much each signal counts in the whole; they sum to 1, so the whole is an e-process as well."""

FREEZE_AT = 20.0
ROLLBACK_AT = 100.0
"""With no regression the evidence ever reaches this in at most 1 of 100 rollouts."""

_LABELLED = (Signal.ERROR, Signal.TIMEOUT, Signal.MISMATCH, Signal.LATENCY)


@dataclass(slots=True)
class Evidence:
    """What the bad calls of one rollout say so far. All signals of a call are taken in together, once.

    Attributes:
        labelled: the e-process of each signal but one.
        strangers: that of failures of new kinds.
        calls: how many bad calls were taken in.
    """

    labelled: dict[Signal, LabelProcess] = field(default_factory=lambda: {each: LabelProcess() for each in _LABELLED})
    strangers: StrangerProcess = field(default_factory=StrangerProcess)
    calls: int = 0

    def add(self, call: BadCall) -> bool:
        """Take in one bad call; whether its failure is the first of a kind that legacy has never shown."""
        self.calls += 1
        for signal in call.signals & self.labelled.keys():
            self.labelled[signal].add(on_candidate=call.on_candidate, probability=call.probability)
        if call.kind is None or Signal.ERROR not in call.signals:
            return False
        return self.strangers.add(call.kind, on_candidate=call.on_candidate, probability=call.probability)

    def by_signal(self) -> dict[Signal, float]:
        """The evidence of each signal alone; 1 is none."""
        return {signal: _exp(log) for signal, log in self._logs().items()}

    @property
    def total(self) -> float:
        """The evidence of all signals together; 1 is none, and `ROLLBACK_AT` is enough."""
        logs = self._logs()
        return _exp(log_mean(list(logs.values()), [WEIGHTS[signal] for signal in logs]))

    @property
    def action(self) -> Action:
        """What the evidence calls for."""
        if self.total >= ROLLBACK_AT:
            return Action.ROLLBACK
        return Action.FREEZE if self.total >= FREEZE_AT else Action.NONE

    def strongest(self) -> Signal:
        """The signal that contributes most."""
        return max(self._logs().items(), key=lambda item: item[1] + math.log(WEIGHTS[item[0]]))[0]

    def _logs(self) -> dict[Signal, float]:
        return {
            **{signal: process.log for signal, process in self.labelled.items()},
            Signal.STRANGER: self.strangers.log,
        }

    def state(self) -> dict[str, object]:
        """Everything as plain data, for `restored`."""
        return {
            "labelled": {signal.value: list(process.logs) for signal, process in self.labelled.items()},
            "known": sorted(self.strangers.known),
            "found": [[kind, None if log == -math.inf else log] for kind, log in self.strangers.found.items()],
            "calls": self.calls,
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Evidence:
        """The evidence whose `state` this is."""
        evidence = cls(calls=state["calls"])
        for signal, logs in state["labelled"].items():
            evidence.labelled[Signal(signal)].logs = [float(log) for log in logs]
        evidence.strangers.known = set(state["known"])
        evidence.strangers.found = {kind: -math.inf if log is None else log for kind, log in state["found"]}
        return evidence


def _exp(log: float) -> float:
    """The number itself; beyond what a float can hold, the largest one."""
    return math.exp(min(log, 700.0))
