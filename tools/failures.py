"""Which error of which client library is of which kind, so that the same failure is the same on both sides.

Classes are named, not imported: declaring a migration loads no client. Public functions wrap what they meet in a
`RuntimeError`, which says nothing by itself; its cause decides.
"""

from __future__ import annotations

from collections.abc import Mapping

from migration.model import CauseOr, ErrorKind, KindRule, Taxonomy, kind_of_status, out_of_resources


def _not_connected(error: BaseException) -> ErrorKind:
    """A connection that was never made; without descriptors or memory it is this machine's own fault."""
    return ErrorKind.RESOURCE if out_of_resources(error) else ErrorKind.CONNECTION


def _by_status(error: BaseException) -> ErrorKind | None:
    """By the HTTP status that the error carries, under whichever name; without one a refusal is a refusal."""
    answer = getattr(error, "response", None)
    for holder, name in ((error, "status_code"), (error, "status"), (answer, "status_code")):
        status = getattr(holder, name, None)
        if str(status).isdecimal():
            return kind_of_status(int(str(status)))
    return ErrorKind.REJECTED


def _of_sdk_user(error: BaseException) -> ErrorKind | None:
    """An answer that is no JSON reaches an SDK's user as a plain string where a model is expected."""
    return ErrorKind.BAD_ANSWER if getattr(error, "name", None) == "to_dict" else None


def _of_local_storage(error: BaseException) -> ErrorKind:
    return ErrorKind.RESOURCE if out_of_resources(error) else ErrorKind.SERVER_FAILED


def _httpx(package: str) -> Mapping[str | type[BaseException], KindRule]:
    """The names of httpx's errors; httpx2, through which openai sends, has the same ones."""
    kinds: Mapping[str, KindRule] = {
        "ConnectError": _not_connected,
        "ConnectTimeout": _not_connected,
        "ProxyError": _not_connected,
        "TimeoutException": ErrorKind.TIMEOUT,
        "NetworkError": ErrorKind.CONNECTION_LOST,
        "ProtocolError": ErrorKind.CONNECTION_LOST,
        "LocalProtocolError": ErrorKind.BAD_INPUT,
        "UnsupportedProtocol": ErrorKind.BAD_INPUT,
        "InvalidURL": ErrorKind.BAD_INPUT,
        "DecodingError": ErrorKind.BAD_ANSWER,
        "TooManyRedirects": ErrorKind.BAD_ANSWER,
        "HTTPStatusError": _by_status,
    }
    return {f"{package}.{name}": rule for name, rule in kinds.items()}


CLIENTS: Mapping[str | type[BaseException], KindRule] = {
    **_httpx("httpx"),
    **_httpx("httpx2"),
    "openai.APIStatusError": _by_status,
    "openai.APITimeoutError": CauseOr(ErrorKind.TIMEOUT),
    "openai.APIConnectionError": CauseOr(ErrorKind.CONNECTION_LOST),
    "openai.APIResponseValidationError": ErrorKind.BAD_ANSWER,
    "zai.core._errors.APIStatusError": _by_status,
    "zai.core._errors.APITimeoutError": CauseOr(ErrorKind.TIMEOUT),
    "zai.core._errors.APIConnectionError": CauseOr(ErrorKind.CONNECTION_LOST),
    "zai.core._errors.APIResponseValidationError": ErrorKind.BAD_ANSWER,
    "aiohttp.ClientConnectorError": _not_connected,
    "aiohttp.ConnectionTimeoutError": _not_connected,
    "aiohttp.ClientHttpProxyError": _not_connected,
    "aiohttp.ServerTimeoutError": ErrorKind.TIMEOUT,
    "aiohttp.ClientConnectionError": ErrorKind.CONNECTION_LOST,
    "aiohttp.ClientPayloadError": ErrorKind.CONNECTION_LOST,
    "aiohttp.ContentTypeError": ErrorKind.BAD_ANSWER,
    "aiohttp.ClientResponseError": _by_status,
    "aiohttp.InvalidURL": ErrorKind.BAD_INPUT,
    "requests.ConnectTimeout": _not_connected,
    "requests.Timeout": ErrorKind.TIMEOUT,
    "requests.ConnectionError": CauseOr(ErrorKind.CONNECTION_LOST),
    "requests.HTTPError": _by_status,
    "requests.JSONDecodeError": ErrorKind.BAD_ANSWER,
    "urllib3.exceptions.NewConnectionError": _not_connected,
    "urllib3.exceptions.ProtocolError": ErrorKind.CONNECTION_LOST,
    "storage3.exceptions.StorageApiError": _by_status,
    "postgrest.exceptions.APIError": ErrorKind.REJECTED,
}
"""The client libraries' errors."""

OWN: Mapping[str | type[BaseException], KindRule] = {
    "tools.errors.MissingKeyError": ErrorKind.UNAUTHORISED,
    "tools.providers.answers.ProviderAnswerError": ErrorKind.BAD_ANSWER,
    "tools.providers.answers.FileGoneError": ErrorKind.INTEGRITY,
    "tools.providers.answers.ProviderTimeoutError": ErrorKind.TIMEOUT,
    "tools.files.NotRegularFileError": ErrorKind.BAD_INPUT,
    "tools.files.FileReplacedError": ErrorKind.BAD_INPUT,
    "tools.transport.errors.FileChangedError": ErrorKind.BAD_INPUT,
    "tools.transport.errors.NotAFileError": ErrorKind.BAD_INPUT,
    "tools.transport.errors.ConnectionNotMadeError": _not_connected,
    "tools.transport.errors.ConnectionLostError": CauseOr(ErrorKind.CONNECTION_LOST),
    "tools.transport.errors.RequestTimedOutError": ErrorKind.TIMEOUT,
    "tools.transport.errors.AnswerTooLargeError": ErrorKind.BAD_ANSWER,
    "tools.transport.errors.UnusableAnswerError": ErrorKind.BAD_ANSWER,
    "tools.transport.errors.UnansweredError": ErrorKind.CONNECTION_LOST,
    "tools.transport.errors.HttpStatusError": _by_status,
    "tools.storage.port.StorageUnreachableError": _not_connected,
    "tools.storage.port.StorageTimeoutError": ErrorKind.TIMEOUT,
    "tools.storage.port.StorageConnectionLostError": ErrorKind.CONNECTION_LOST,
    "tools.storage.port.StorageRefusedError": _by_status,
    "tools.storage.port.StorageAnswerError": ErrorKind.BAD_ANSWER,
    "tools.storage.port.NoFreeKeyError": ErrorKind.REJECTED,
    "tools.storage.port.BadKeyError": ErrorKind.BAD_INPUT,
    "tools.storage.port.LocalStorageError": _of_local_storage,
}
"""The errors of this package."""

FAILURES = Taxonomy({**CLIENTS, **OWN, AttributeError: _of_sdk_user})
"""The kinds of everything that an upload can raise."""
