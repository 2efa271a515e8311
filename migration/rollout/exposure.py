"""Who gets the candidate: a share of the calls, everywhere or of one instance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from migration.model.errors import ExposureError

SMALLEST_PERCENT = 0.01
"""Below one percent a share is a multiple of this, from there on a whole number, as Unleash has it."""

_EVERYBODY = 100.0


@dataclass(frozen=True, slots=True)
class Exposure:
    """Who gets the candidate.

    Attributes:
        percent: of the calls, 0 to 100.
        instance: only of this instance's calls; None for those of all.

    Raises:
        ExposureError: the share cannot be set exactly.
    """

    percent: float
    instance: str | None = None

    def __post_init__(self) -> None:
        step = 1.0 if self.percent >= 1 else SMALLEST_PERCENT
        steps = self.percent / step
        if not 0 <= self.percent <= _EVERYBODY or not math.isclose(steps, round(steps), abs_tol=1e-9):
            raise ExposureError(self.percent)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The share that a number in percent means: `10`, `0.1`.

        Raises:
            ExposureError: it is no such number.
        """
        try:
            return cls(float(text))
        except ValueError:
            raise ExposureError(text) from None

    @property
    def probability(self) -> float | None:
        """With which any call gets the candidate; None if that depends on where it is made."""
        return None if self.instance is not None else self.percent / _EVERYBODY

    def __str__(self) -> str:
        share = f"{self.percent:g} %"
        return share if self.instance is None else f"{share} of instance {self.instance}"
