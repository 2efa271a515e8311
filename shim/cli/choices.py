"""What some options can be given; the programs behind them are imported only when they are used."""

from __future__ import annotations

from enum import StrEnum


class UploadEntrance(StrEnum):
    """Through which of the monolith's entrances a file goes."""

    FUNCTION = "function"  # the gateway function
    FILE = "file"  # the tool, one file
    FILES = "files"  # the tool, several files in one call


class ComparedFault(StrEnum):
    """What a service answers instead of doing what it is asked; faults without an answer cannot be rehearsed."""

    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    QUOTA_EXCEEDED = "quota_exceeded"
    SERVER_ERROR = "server_error"
    GATEWAY_TIMEOUT = "gateway_timeout"
    ERROR_IN_SUCCESS = "error_in_success"
    STORAGE_RATE_LIMITED = "storage_rate_limited"
    STORAGE_OVERLOADED = "storage_overloaded"
    STORAGE_SERVER_ERROR = "storage_server_error"
    STORAGE_GATEWAY_TIMEOUT = "storage_gateway_timeout"


class RecordedVerdict(StrEnum):
    """How a comparison can end."""

    IDENTICAL = "identical"
    DIFFERENT = "different"
    CANDIDATE_ERROR = "candidate_error"
    LEGACY_ERROR = "legacy_error"
    SAME_ERROR = "same_error"
    IGNORED = "ignored"
    NOISY = "noisy"
    STALE_INPUT = "stale_input"
    DROPPED = "dropped"


class UploadProvider(StrEnum):
    """Where files go."""

    KIMI = "kimi"
    GLM = "glm"
