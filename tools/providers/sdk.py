"""What callers know from the vendors' SDKs: how often they send again, and how they word what went wrong.

Callers see the texts of the SDKs, so these are part of the behaviour to keep. Sources:
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
from typing import TYPE_CHECKING

from tools.providers.answers import file_id_of
from tools.transport.errors import HttpStatusError, TransportError, UnusableAnswerError
from tools.transport.loops import retry_delay

if TYPE_CHECKING:
    from tools.transport.rest import RestAnswer

_LONGEST_DELAY = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sdk:
    """How one vendor's SDK behaves. Delays are in seconds.

    Attributes:
        retries: how often it sends again.
        first_delay: how long it waits before the first retry; doubled with every further one.
        longest_advised_delay: longest `Retry-After` that it follows; 0: it ignores the header.
        status_text: how it words an HTTP error.
        takes_for_json: whether it insists on JSON for this content type.
        extra_headers: headers of its requests that change the answers.
    """

    retries: int
    first_delay: float
    longest_advised_delay: float
    status_text: Callable[[HttpStatusError], str] = field(repr=False)
    takes_for_json: Callable[[str], bool] = field(repr=False)
    extra_headers: Mapping[str, str] = field(default_factory=dict)

    def file_id(self, answer: RestAnswer) -> str:
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

    def error_message(self, error: Exception) -> str:
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
        return retry_delay(retry + 1, first=self.first_delay, longest=_LONGEST_DELAY, jitter=jitter)


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


OPENAI = Sdk(
    retries=2,
    first_delay=0.5,
    longest_advised_delay=120.0,
    status_text=_openai_status_text,
    takes_for_json=lambda content_type: content_type.endswith("json"),
)
"""The package `openai`, which other vendors recommend for their own services too."""

ZAI = Sdk(
    retries=3,
    first_delay=1.0,
    longest_advised_delay=0.0,
    status_text=lambda error: f"Error code: {error.status}, with error text {error.text.strip()}",
    takes_for_json=lambda content_type: content_type == "application/json",
    extra_headers={"Accept-Language": "en-US,en"},  # the language of its messages
)
"""The package `zai-sdk`."""
