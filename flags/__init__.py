"""Unleash behind `migration`'s router port, from a server or from a file, and the administration of flags."""

from flags._admin import Flag, FlagAdmin
from flags._errors import (
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
from flags._file_admin import FileFlagAdmin
from flags._router import SHADOW_SUFFIX, RouterStatus, UnleashRouter
from flags._server_admin import UnleashFlagAdmin
from flags._source import Freshness

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
