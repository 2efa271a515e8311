"""How the sandbox plays providers: what their APIs accept, and how they word refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tools.settings import MEGABYTE

_INVALID = "invalid_request_error"
_NOT_FOUND = "resource_not_found_error"

Told = tuple[int, str, str]
"""Status, type or code, and message of an answer that is a refusal. The message may have places to fill in."""

ERRORS: Mapping[str, Told] = {
    "purpose": (400, _INVALID, "Invalid purpose: {value}"),
    "file_missing": (400, _INVALID, "file is required"),
    "file_too_large": (400, _INVALID, "File size is too large, max file size is 100MB, please confirm and re-upload"),
    "too_many_files": (400, _INVALID, "An account keeps at most {limit} files"),
    "file_unknown": (404, _NOT_FOUND, "file {id} not found"),
    "text_unavailable": (404, _NOT_FOUND, "the content of {id} is not available"),
    "page": (400, _INVALID, "Invalid {value} parameter"),
    "chat": (400, _INVALID, "Invalid request: {value}"),
    "no_key": (401, "invalid_authentication_error", "Invalid Authentication"),
    "wrong_key": (401, "incorrect_api_key_error", "Incorrect API key provided"),
    "rate_limited": (429, "rate_limit_reached_error", "Rate limit reached, please try again after {value} seconds"),
    "overloaded": (429, "engine_overloaded_error", "The engine is currently overloaded, please try again later"),
    "quota_exceeded": (429, "insufficient_quota", "You exceeded your current quota, please check your plan"),
    "server_error": (500, "server_error", "The server had an error while processing the request"),
}
"""The refusals of a provider that words them as OpenAI does, by what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """What the sandbox needs to play a provider, beside what `FilesApi` says. The defaults are the shape of OpenAI's.

    Attributes:
        path: where the API is, below `/NAME`.
        id_prefix: how the ids of files begin.
        purposes: what files may be for.
        max_bytes: the largest file.
        max_files: files that one account keeps.
        counted_by_purpose: that number is for each purpose alone.
        code_field: the field of an error that holds its type or code.
        retry_headers: the headers that name the seconds to wait.
        errors: the refusals, where they are others than `ERRORS`. `file_empty` and `file_suffix`, if they are there,
            refuse empty files and names without an extension, `error_in_success` reports an overload with status 200,
            and `no_endpoint` answers for paths that do not exist.
        codes: type or code of any other refusal by its status; 0 is for all that are not named.
    """

    path: str = "/v1"
    id_prefix: str = "file-"
    purposes: frozenset[str]
    max_bytes: int = 100 * MEGABYTE
    max_files: int = 1000
    counted_by_purpose: bool = False
    code_field: str = "type"
    retry_headers: tuple[str, ...] = ("Retry-After",)
    errors: Mapping[str, Told] = field(default_factory=dict)
    codes: Mapping[int, str] = field(default_factory=lambda: {404: _NOT_FOUND, 500: "server_error", 0: _INVALID})

    def error(self, reason: str) -> Told | None:
        """The refusal for a reason; None if the provider does not refuse for it."""
        return self.errors.get(reason, ERRORS.get(reason))


KIMI_STAND_IN = StandIn(
    id_prefix="",
    purposes=frozenset({"file-extract", "image", "video", "batch"}),
    retry_headers=("Retry-After", "X-Retry-After"),
    errors={
        "purpose": (400, "invalid_request_error", "Invalid purpose: only 'file-extract' accepted"),
        "file_suffix": (400, "invalid_request_error", "file type not supported: the file name has no extension"),
        "file_empty": (400, "invalid_request_error", "File size is zero, please confirm and re-upload the file"),
        "file_too_large": (
            400,
            "invalid_request_error",
            "File size is too large, max file size is 100MB, please confirm and re-upload the file",
        ),
        "too_many_files": (
            400,
            "invalid_request_error",
            (
                "The number of files you have uploaded exceeded the max file count {limit}, please delete previous "
                "uploaded files"
            ),
        ),
        "rate_limited": (
            429,
            "rate_limit_reached_error",
            "Your account request reached max request, please try again after {value} seconds",
        ),
        "quota_exceeded": (
            429,
            "exceeded_current_quota_error",
            "You exceeded your current token quota, please check your account balance",
        ),
        "server_error": (500, "server_error", "Failed to extract file: internal error"),
    },
)

_ADVICE = "or contact customer service to increase limits"

GLM_STAND_IN = StandIn(
    path="/api/paas/v4",
    purposes=frozenset({"agent", "batch", "code-interpreter", "file-extract"}),
    max_files=100,
    counted_by_purpose=True,
    code_field="code",
    errors={
        "purpose": (400, "1214", "Invalid purpose parameter. Please check the documentation"),
        "file_missing": (400, "1213", "The file parameter was not received properly"),
        "file_too_large": (435, "1210", "File size exceeds 100MB"),
        "too_many_files": (400, "1210", "An account keeps at most {limit} files"),
        "file_unknown": (404, "1214", "{id} does not exist"),
        "parser_field": (400, "1214", "Invalid {value} parameter. Please check the documentation"),
        "parser_type": (400, "1213", "The file_type parameter was not received properly"),
        "page": (400, "1214", "Invalid {value} parameter. Please check the documentation"),
        "chat": (400, "1210", "Incorrect API call parameters: {value}"),
        "no_endpoint": (404, "1222", "API does not exist"),
        "no_key": (401, "1001", "Authentication parameter not received in Header, unable to authenticate"),
        "wrong_key": (401, "1000", "Authentication Failed"),
        "rate_limited": (429, "1303", f"High frequency usage of this API, please reduce frequency {_ADVICE}"),
        "overloaded": (429, "1302", f"High concurrency usage of this API, please reduce concurrency {_ADVICE}"),
        "quota_exceeded": (429, "1113", "Your account is in arrears, please recharge and try again"),
        "error_in_success": (200, "1305", "The API has triggered a rate limit"),
        "server_error": (500, "500", "Internal Error"),
    },
    codes={400: "1210", 500: "500", 0: "1200"},
)
