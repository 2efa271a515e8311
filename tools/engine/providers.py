"""What differs between Kimi and GLM, as data, and how their SDKs word what went wrong.

Callers see the texts of the vendors' SDKs, so these are part of the behaviour to keep. Sources:
openai 3.54 (`openai/_base_client.py`: `_make_status_error_from_response`, `_should_retry`, `_calculate_retry_timeout`)
and zai-sdk 0.2.3 (`zai/core/_http_client.py`: `_make_status_error`, `_retry_request`, `_calculate_retry_timeout`).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import mktime_tz, parsedate_tz

from pydantic import SecretStr

from shim.http.redaction import HiddenText
from tools.providers import gateway
from tools.providers.answers import file_id_of, required_key
from tools.providers.gateway import Gateway
from tools.settings import Settings
from tools.storage.port import ProviderName
from tools.transport.errors import HttpStatusError, TransportError, UnusableAnswerError
from tools.transport.transport import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider of a files API.

    Attributes:
        gateway: its names, its limit, and what results and rows look like.
        retries: how often the SDK sends again.
        first_delay: seconds that it waits before the first time, doubled with every further one.
        longest_advised_delay: longest `Retry-After` that it follows, in seconds; 0: it ignores the header.
        lists_by_purpose: the listing is filtered by purpose and comes in pages.
        address_of: base address of the API.
        secret_of: the configured key.
        key_variable: the environment variable that holds the key.
        status_text: how the SDK words an HTTP error.
        takes_for_json: whether the SDK insists on JSON for this content type.
        extra_headers: headers that change the answers.
    """

    gateway: Gateway
    retries: int
    first_delay: float
    longest_advised_delay: float
    lists_by_purpose: bool
    address_of: Callable[[Settings], str] = field(repr=False)
    secret_of: Callable[[Settings], SecretStr | None] = field(repr=False)
    key_variable: str
    status_text: Callable[[HttpStatusError], str] = field(repr=False)
    takes_for_json: Callable[[str], bool] = field(repr=False)
    extra_headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> ProviderName:
        """As in rows and ids."""
        return self.gateway.name

    @property
    def label(self) -> str:
        """As in messages."""
        return self.gateway.label

    def files_address(self, settings: Settings) -> str:
        """Where files are posted and listed."""
        return f"{self.address_of(settings)}/files"

    def headers(self, settings: Settings) -> dict[str, str]:
        """Headers of every request.

        Raises:
            MissingKeyError: no key is configured.
        """
        key = required_key(self.secret_of(settings), self.key_variable)
        return {"Accept": "application/json", "Authorization": HiddenText(f"Bearer {key}"), **self.extra_headers}

    def file_id(self, answer: Answer) -> str:
        """The id in the answer to an upload.

        Raises:
            NoFileIdError: there is none, but perhaps an error of the provider.
            UnusableAnswerError: the answer is nothing that could hold one.
        """
        try:
            body = json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            if self.takes_for_json(answer.headers.get("content-type", "*").split(";")[0]):
                raise UnusableAnswerError(str(error)) from error
            body = answer.text
        if not isinstance(body, dict):
            # the words of the SDKs' users, who expect a model with this method
            raise UnusableAnswerError(f"{type(body).__name__!r} object has no attribute 'to_dict'")
        return file_id_of(body)

    def wording(self, error: Exception) -> str:
        """What the SDK says where this error is met."""
        if isinstance(error, HttpStatusError):
            return self.status_text(error)
        if isinstance(error, TransportError):
            return "Request timed out." if error.timed_out else "Connection error."
        return str(error)

    def retry_delay(self, retry: int, headers: Mapping[str, str], *, jitter: float) -> float | None:
        """Seconds to wait before the retry with this number (0 is the first), None when waiting makes no sense.

        `jitter` is a random number in [0, 1).
        """
        if self.longest_advised_delay:
            advised = advised_delay(headers)
            if advised is not None and advised > self.longest_advised_delay:
                return None
            if advised is not None and advised > 0:
                return advised
        return min(self.first_delay * 2.0**retry, _LONGEST_DELAY) * (1 - 0.25 * jitter)


_LONGEST_DELAY = 8.0


def _openai_status_text(error: HttpStatusError) -> str:
    """Only the `message` that the body designates is shown."""
    try:
        body = json.loads(error.text.strip())
    except (ValueError, RecursionError):
        body = None
    designated = body.get("error", body) if isinstance(body, dict) else None
    message = designated.get("message") if isinstance(designated, dict) else None
    suffix = f" - {message}" if isinstance(message, str) and message else ""
    return f"Error code: {error.status}{suffix}"


def _zai_status_text(error: HttpStatusError) -> str:
    return f"Error code: {error.status}, with error text {error.text.strip()}"


def advised_delay(headers: Mapping[str, str]) -> float | None:
    """The delay that a server asks for in seconds: `retry-after-ms`, or `Retry-After` as a number or a date."""
    for name, divisor in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            delay = float(headers[name])
        except (KeyError, ValueError):
            continue
        return delay / divisor if math.isfinite(delay) else None
    moment = parsedate_tz(headers.get("retry-after", ""))
    return None if moment is None else mktime_tz(moment) - time.time()


KIMI = Provider(
    gateway=gateway.KIMI,
    retries=2,
    first_delay=0.5,
    longest_advised_delay=120.0,
    lists_by_purpose=False,
    address_of=lambda settings: settings.kimi_api_url,
    secret_of=lambda settings: settings.kimi_api_key,
    key_variable="KIMI_API_KEY",
    status_text=_openai_status_text,
    takes_for_json=lambda content_type: content_type.endswith("json"),
)

GLM = Provider(
    gateway=gateway.GLM,
    retries=3,
    first_delay=1.0,
    longest_advised_delay=0.0,
    lists_by_purpose=True,
    address_of=lambda settings: settings.glm_api_url,
    secret_of=lambda settings: settings.glm_api_key,
    key_variable="GLM_API_KEY",
    status_text=_zai_status_text,
    takes_for_json=lambda content_type: content_type == "application/json",
    extra_headers={"Accept-Language": "en-US,en"},  # the language of its messages
)
