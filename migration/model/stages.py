"""The six stages that a migration goes through, and the two flags that say which one it is in.

The stages' names, and who is authoritative in each, are those of LaunchDarkly's migration flags
(https://launchdarkly.com/docs/sdk/features/migrations).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ShadowMode(StrEnum):
    """How a migration is declared to run the other side of a sampled call."""

    NONE = "none"  # it cannot be run: sampled calls are counted as dropped
    REPLAY = "replay"  # rehearsed; nothing is created
    LIVE = "live"  # really done, compared, and undone
    KEPT = "kept"  # really done, and kept

    @property
    def is_real(self) -> bool:
        """Whether the other side really does its work."""
        return self in {ShadowMode.LIVE, ShadowMode.KEPT}


class Stage(StrEnum):
    """How far a migration is, in the order in which the stages follow each other."""

    OFF = "off"  # legacy alone
    DUALWRITE = "dualwrite"  # legacy answers, and the candidate's work is done and kept as well
    SHADOW = "shadow"  # legacy answers, the candidate is run and compared
    LIVE = "live"  # the candidate answers (some calls or all), legacy is run and compared
    RAMPDOWN = "rampdown"  # the candidate answers, and legacy's work is done and kept as well
    COMPLETE = "complete"  # the candidate alone

    @property
    def keeps(self) -> bool:
        """Whether the other side's work is kept, which takes a declaration of mode `KEPT`."""
        return self in {Stage.DUALWRITE, Stage.RAMPDOWN}


@dataclass(frozen=True, slots=True)
class StageFlags:
    """What the two flags of a migration stand at, in percent: who serves, and what is also run on the other side."""

    serve: int
    shadow: int


def stage_of(serve_probability: float, shadow_probability: float, mode: ShadowMode) -> Stage:
    """The stage that the flags and the declaration amount to.

    Given the probabilities of one decision (0 or 1) it is the stage of that one call.

    Args:
        serve_probability: share of the calls that the candidate answers, 0..1.
        shadow_probability: share of the calls that are also run on the other side, 0..1.
        mode: how the other side is run.
    """
    shadowed = shadow_probability > 0 and mode is not ShadowMode.NONE
    kept = mode is ShadowMode.KEPT
    if serve_probability <= 0:
        if not shadowed:
            return Stage.OFF
        return Stage.DUALWRITE if kept else Stage.SHADOW
    if serve_probability < 1:
        return Stage.LIVE
    if not shadowed:
        return Stage.COMPLETE
    return Stage.RAMPDOWN if kept else Stage.LIVE


def flags_of(stage: Stage, percent: int = 100) -> StageFlags:
    """What the two flags must stand at for a stage; the opposite of `stage_of`.

    Args:
        stage: the stage.
        percent: 1..100, how many of the calls take the stage's step: in `dualwrite` and `shadow` those that are also
            run on the other side, from `live` on those that the candidate answers. `rampdown` and `complete` mean all.

    Raises:
        ValueError: `percent` does not suit the stage.
    """
    least = 100 if stage in {Stage.RAMPDOWN, Stage.COMPLETE} else 1
    if not least <= percent <= 100:  # noqa: PLR2004  # percent
        raise ValueError(f"stage {stage} takes {least if least == 100 else f'{least} to 100'} percent, not {percent}")  # noqa: PLR2004  # percent
    return {
        Stage.OFF: StageFlags(0, 0),
        Stage.DUALWRITE: StageFlags(0, percent),
        Stage.SHADOW: StageFlags(0, percent),
        Stage.LIVE: StageFlags(percent, 100),
        Stage.RAMPDOWN: StageFlags(100, 100),
        Stage.COMPLETE: StageFlags(100, 0),
    }[stage]
