"""What can go wrong while a file is read, sent or looked for, one tree.

No message holds contents of a file, a credential, or the query of an address.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from tools.errors import NothingSentError, ToolsError

_MB = 1_000_000


def progress(sent: int, size: int) -> str:
    """How far an upload got, in words."""
    return f"{sent / _MB:.1f} of {size / _MB:.1f} MB had been sent"


class EngineError(ToolsError):
    """Base of the engine's errors."""


class FileChangedError(EngineError):
    """A file is no longer what it was when its upload began."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path.name} was changed while it was uploaded; upload it again once it is complete")


class NotAFileError(EngineError, ValueError):
    """A path leads to something that cannot be uploaded: a directory, a pipe, a device."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"Not a regular file: {path}")


class InvalidAddressError(EngineError, ValueError):
    """An upload address is no http or https address."""

    def __init__(self, address: str) -> None:
        super().__init__(f"Not an http(s) address: {address!r}")


class TransportError(EngineError):
    """A request got no usable answer: whether it took effect is unknown, unless a subclass says so.

    `timed_out` tells whether a timeout passed, rather than a connection broke.
    """

    timed_out = False

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; the server may or may not have acted on the request")


class ConnectionLostError(TransportError):
    """The connection broke before the answer was complete."""


class RequestTimedOutError(TransportError):
    """The server took no data, or sent no answer, for too long."""

    timed_out = True


class WriteTimedOutError(RequestTimedOutError):
    """The server stopped taking data in the middle of an upload.

    Attributes:
        seconds: how long it took none.
        sent: bytes that had been sent.
        size: bytes that were to be sent.
    """

    def __init__(self, *, seconds: float, sent: int, size: int) -> None:
        self.seconds = seconds
        self.sent = sent
        self.size = size
        super().__init__(f"no data was taken for {seconds:g} s; {progress(sent, size)}")


class AnswerTooLargeError(TransportError):
    """The answer was longer than any sensible one."""


class UnansweredError(EngineError):
    """No attempt at a request was answered, or each met a transient failure.

    Attributes:
        problem: of the last attempt: `no answer in time`, the name of an error, or `HTTP` and a status.
        attempts: how many there were.
    """

    def __init__(self, problem: str, *, attempts: int) -> None:
        self.problem = problem
        self.attempts = attempts
        super().__init__(problem if attempts == 1 else f"{problem}, {attempts} times")


class ConnectionNotMadeError(TransportError, NothingSentError):
    """No connection came about, so it is certain that nothing was sent."""

    def __init__(self, where: str, *, timed_out: bool = False) -> None:
        self.timed_out = timed_out
        EngineError.__init__(self, f"no connection to {where}; nothing was sent")


class HttpStatusError(EngineError):
    """A server answered with something else than success.

    Attributes:
        status: HTTP status.
        text: the answer's text, as much of it as was read.
        headers: the answer's headers, names in lower case.
    """

    def __init__(self, *, where: str, status: int, text: str, headers: dict[str, str]) -> None:
        self.status = status
        self.text = text
        self.headers = headers
        super().__init__(f"{where} answered {status}")

    @staticmethod
    def of(*, where: str, status: int, text: str, headers: dict[str, str]) -> HttpStatusError:
        """The error class for this status."""
        kind = HttpStatusError
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            kind = RateLimitedError
        elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            kind = ServerFailedError
        elif status >= HTTPStatus.BAD_REQUEST:
            kind = RequestRefusedError
        return kind(where=where, status=status, text=text, headers=headers)


class RequestRefusedError(HttpStatusError):
    """4xx: the server refused this request."""


class RateLimitedError(RequestRefusedError):
    """429: the server's rate limit was exceeded."""


class ServerFailedError(HttpStatusError):
    """5xx: the server failed; whether the request took effect is unknown."""


class UnusableAnswerError(EngineError):
    """The server reported success, in a form that cannot be used."""


class ListingUnavailableError(EngineError):
    """A provider's listing of files cannot be had, so an upload of unknown outcome cannot be looked for."""


class AmbiguousListingError(ListingUnavailableError):
    """A listed file may be this upload's or another one's that is not over."""
