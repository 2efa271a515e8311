"""Unleash behind `migration`'s router port, from a server or from a file, and the administration of flags."""

from flags.admin import Flag, FlagAdmin
from flags.errors import (
    AmbiguousRolloutError,
    FlagDefinitionsError,
    FlagError,
    FlagEvaluationError,
    FlagFileError,
    FlagNotFoundError,
    FlagServerError,
    FlagsNotReadyError,
    FlagsStaleError,
    InvalidFlagNameError,
    InvalidPercentageError,
    NoStrategyError,
    RouterClosedError,
    UnknownStrategyError,
)
from flags.file import FileFlagAdmin
from flags.router import SHADOW_SUFFIX, RouterStatus, UnleashRouter
from flags.server import UnleashFlagAdmin
from flags.source import Freshness

__all__ = [
    "SHADOW_SUFFIX",
    "AmbiguousRolloutError",
    "FileFlagAdmin",
    "Flag",
    "FlagAdmin",
    "FlagDefinitionsError",
    "FlagError",
    "FlagEvaluationError",
    "FlagFileError",
    "FlagNotFoundError",
    "FlagServerError",
    "FlagsNotReadyError",
    "FlagsStaleError",
    "Freshness",
    "InvalidFlagNameError",
    "InvalidPercentageError",
    "NoStrategyError",
    "RouterClosedError",
    "RouterStatus",
    "UnknownStrategyError",
    "UnleashFlagAdmin",
    "UnleashRouter",
]
