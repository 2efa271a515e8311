"""The retries of a resumable upload: which failures may pass, how many, and how long to wait."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final, NoReturn

from tools.storage.errors import StorageConnectionLostError, StorageError, StorageUnreachableError
from tools.storage.supabase.answers import Answer

RETRIES: Final = 4
"""So often in a row something may fail and is tried again; whatever arrives begins the row anew."""

FIRST_DELAY: Final = 0.5
"""Seconds before something is tried again, doubled with every further failure in the row."""

LONGEST_DELAY: Final = 8.0
"""Seconds, also when Storage advises more."""

_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.LOCKED, HTTPStatus.TOO_MANY_REQUESTS})

GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
"""Storage does not know an upload (any more)."""


class RefusedForGoodError(Exception):
    """Storage refuses, and asking again will not change that."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(answer.status)


def passes(status: int) -> bool:
    """Whether a refusal may be different a little later."""
    return status in _PASSING or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED)


class Patience:
    """How many failures are left before the upload is given up.

    Attributes:
        sent: something may have reached Storage.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._failures = 0
        self._furthest = 0
        self.sent = False

    def note(self, arrived: int) -> None:
        """So many bytes have arrived. More than ever before renews patience; beginning anew alone does not."""
        if arrived > self._furthest:
            self._furthest = arrived
            self._failures = 0

    def delay_after(self, failure: Answer | StorageError) -> float:
        """Seconds to wait after a failure: as many as Storage advises, else more with each in the row.

        Raises:
            StorageError: `failure`, if it is one too many.
            RefusedForGoodError: likewise, when it is an answer; or waiting is of no use.
        """
        if isinstance(failure, Answer) and not _may_pass(failure.status):
            raise RefusedForGoodError(failure)
        self.sent = self.sent or not isinstance(failure, StorageUnreachableError)
        self._failures += 1
        if not self.sent or self._failures > RETRIES:
            self._give_up(failure)
        delay = FIRST_DELAY * 2.0 ** (self._failures - 1) * (1 - 0.25 * self._jitter())
        advised = failure.headers.get("Retry-After", "") if isinstance(failure, Answer) else ""
        return min(float(advised) if advised.isascii() and advised.isdigit() else delay, LONGEST_DELAY)

    def _give_up(self, failure: Answer | StorageError) -> NoReturn:
        if isinstance(failure, Answer):
            raise RefusedForGoodError(failure)
        if self.sent and isinstance(failure, StorageUnreachableError):  # its type would prove that nothing was sent
            raise StorageConnectionLostError(action=failure.action, address=failure.address) from failure
        raise failure


def _may_pass(status: int) -> bool:
    """Whether a refused piece may be taken after a look at the upload: it may be about the offset, or the upload."""
    return passes(status) or status in GONE or status == HTTPStatus.CONFLICT
