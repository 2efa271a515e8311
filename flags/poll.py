"""One question to an Unleash server for its flags: bounded in time and size, whatever the server does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from io import BytesIO

import requests
from UnleashClient.constants import FEATURES_URL
from urllib3.exceptions import HTTPError

from flags.definitions import MAX_BYTES
from flags.errors import FlagDefinitionsError, FlagServerError

ANSWER_SECONDS = 10.0
"""An answer must be complete so soon after its head; one that drips in for ever would stop the polling."""

_PIECE_BYTES = 64 * 1024


class Poller:
    """Asks for the definitions again and again; unless they have changed the server need not send them.

    The official client's own polling has no bound on the size of an answer, nor on the time that one may drip in, and
    APScheduler, which paces it, stands still for an hour when somebody sets the wall clock back by one.

    Args:
        address: of the server's API.
        headers: by which the server knows who asks, the token among them.
        timeout: seconds that a connection or a read may take.
        clock: seconds.
    """

    def __init__(
        self, address: str, headers: Mapping[str, str], *, timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = address + FEATURES_URL
        self._headers = dict(headers)
        self._timeout = timeout
        self._clock = clock
        self._etag: str | None = None
        self._offered: str | None = None

    def ask(self) -> str | None:
        """The definitions, or None if they are still those that were accepted last.

        Raises:
            FlagServerError: there was no usable answer in time; a redirect is none, as it would take the token along.
            FlagDefinitionsError: the answer is too large, or no text.
        """
        headers = self._headers if self._etag is None else {**self._headers, "If-None-Match": self._etag}
        try:
            with requests.Session() as session:
                session.auth = as_it_is
                with session.get(
                    self._address, headers=headers, timeout=self._timeout, stream=True, allow_redirects=False
                ) as answer:
                    return self._definitions(answer)
        except (requests.RequestException, HTTPError, OSError) as error:
            raise FlagServerError("deliver flags", f"no answer ({type(error).__name__})") from error

    def accepted(self) -> None:
        """The last definitions are sound. Those that are not must be sent again, or a broken state would last."""
        self._etag = self._offered

    def _definitions(self, answer: requests.Response) -> str | None:
        if answer.status_code == HTTPStatus.NOT_MODIFIED and self._etag is not None:
            return None
        if answer.status_code != HTTPStatus.OK:
            raise FlagServerError("deliver flags", f"status {answer.status_code}", status=answer.status_code)
        content = self._content(answer)
        self._offered = answer.headers.get("ETag")
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise FlagDefinitionsError("not UTF-8 text") from error

    def _content(self, answer: requests.Response) -> bytes:
        deadline = self._clock() + ANSWER_SECONDS
        content = bytearray()
        while piece := answer.raw.read1(_PIECE_BYTES, decode_content=True):
            content += piece
            if len(content) > MAX_BYTES:
                raise FlagDefinitionsError(f"larger than {MAX_BYTES} bytes")
            if self._clock() > deadline:
                raise FlagServerError("deliver flags", f"the answer was not complete within {ANSWER_SECONDS:g} s")
        return bytes(content)


def as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave the headers alone. Without any `auth`, requests would replace the token by what `~/.netrc` says."""
    return request


def left_unread(answer: requests.Response, **_: object) -> None:
    """Throw an answer's body away before anybody reads it: of a report's answer only the status is of interest."""
    answer.raw.close()
    answer.raw = BytesIO()
