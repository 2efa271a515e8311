"""One HTTP request, bounded in time and size whatever the server does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import requests
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url
from urllib3.exceptions import HTTPError

from flags.errors import FlagError

_PIECE_BYTES = 64 * 1024


class IncompleteAnswerError(FlagError):
    """There was no whole answer within the bounds; `problem` says what was wrong, without the request's secrets."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpBounds:
    """What one request may take.

    Attributes:
        timeout: seconds for the connection, and for each read.
        seconds: from the beginning of the request to the end of the answer.
        max_bytes: of the answer, unpacked.
    """

    timeout: float
    seconds: float
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundedAnswer:
    """An answer that has arrived as a whole.

    Attributes:
        status: its HTTP status; a redirect is not followed, as that would take a token along.
        headers: by name, whatever its case.
        content: the unpacked body; empty if the status is no success, because such a body is not read.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


def ask(
    method: str,
    url: str,
    *,
    bounds: HttpBounds,
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    data: Mapping[str, str] | None = None,
) -> BoundedAnswer:
    """Make one request on a connection of its own; credentials of `~/.netrc` are not used.

    Args:
        method: the HTTP method.
        url: with a user and a password, if the server wants them.
        bounds: what it may take.
        headers: of the request.
        json: body of the request, sent as JSON.
        data: body of the request, sent as a form.

    Raises:
        IncompleteAnswerError: there was no whole answer within the bounds.
    """
    until = time.monotonic() + bounds.seconds
    try:
        with requests.request(
            method,
            url,
            headers=headers,
            json=json,
            data=data,
            timeout=bounds.timeout,
            auth=own_credentials,
            allow_redirects=False,
            stream=True,
        ) as answer:
            is_success = HTTPStatus.OK <= answer.status_code < HTTPStatus.MULTIPLE_CHOICES
            content = _content(answer, bounds, until) if is_success else b""
            return BoundedAnswer(status=answer.status_code, headers=answer.headers, content=content)
    except (requests.RequestException, HTTPError, OSError, ValueError) as error:
        raise IncompleteAnswerError(
            f"no answer ({type(error).__name__})"
        ) from None  # it holds the request with its token


def own_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """An `auth` for requests: the token of the headers, or else the URL's user; otherwise `~/.netrc` would count."""
    user, password = get_auth_from_url(request.url or "")
    if (user or password) and "Authorization" not in request.headers:
        HTTPBasicAuth(user, password)(request)  # sets the header
    return request


def _content(answer: requests.Response, bounds: HttpBounds, until: float) -> bytes:
    content = bytearray()
    while piece := answer.raw.read1(_PIECE_BYTES, decode_content=True):
        content += piece
        if len(content) > bounds.max_bytes:
            raise IncompleteAnswerError(f"the answer is larger than {bounds.max_bytes} bytes")
        if time.monotonic() > until:
            raise IncompleteAnswerError(f"the answer was not complete within {bounds.seconds:g} s")
    return bytes(content)
