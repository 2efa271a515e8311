"""The server's half of resumable uploads (TUS 1.0.0) in a rehearsal, without any input or output (sans-IO).

What arrives is hashed and forgotten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from shim.http.exchanges import Exchange
from tools.shadowing.objects import Fact, Place

MAX_UPLOADS = 64
"""So many can be unfinished in one rehearsal."""


class RefusedError(Exception):
    """The protocol forbids this request."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)


@dataclass(slots=True, kw_only=True)
class Upload:
    """An object on its way.

    Attributes:
        place: where it is to be stored.
        length: how many bytes it has.
        fact: what is known of it.
        answer: what the primary was answered when it stored it.
        received: how many bytes have arrived.
    """

    place: Place
    length: int
    fact: Fact
    answer: Exchange
    received: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)
    _busy: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether all of it has arrived."""
        return self.received == self.length

    @property
    def sha256(self) -> str:
        """Hash of what has arrived."""
        return str(self._digest.hexdigest())

    @contextmanager
    def receiving(self, offset: int, length: int) -> Iterator[None]:
        """Take in a piece of `length` bytes that begins at `offset`, by `add`.

        Raises:
            RefusedError: it does not belong there, or another one is just arriving.
        """
        if self._busy:
            raise RefusedError(HTTPStatus.LOCKED, "The resource is locked")
        if offset != self.received:
            raise RefusedError(HTTPStatus.CONFLICT, "Upload-Offset conflict")
        if offset + length > self.length:
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "upload's size exceeded")
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def add(self, data: bytes) -> None:
        """These bytes have arrived."""
        self._digest.update(data)
        self.received += len(data)


class Uploads:
    """All unfinished uploads of one rehearsal, by their names."""

    def __init__(self) -> None:
        self._by_name: dict[str, Upload] = {}
        self._begun = 0

    def begin(self, upload: Upload) -> str:
        """Take an upload on; returns its name.

        Raises:
            RefusedError: there are too many.
        """
        if len(self._by_name) >= MAX_UPLOADS:
            raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, f"more than {MAX_UPLOADS} uploads are unfinished")
        self._begun += 1
        name = f"upload-{self._begun}"
        self._by_name[name] = upload
        return name

    def get(self, name: str) -> Upload:
        """The upload with this name.

        Raises:
            RefusedError: there is none (any more).
        """
        try:
            return self._by_name[name]
        except KeyError:
            raise RefusedError(HTTPStatus.NOT_FOUND, "Upload not found") from None

    def end(self, name: str) -> Upload:
        """It is complete, or given up.

        Raises:
            RefusedError: there is none (any more).
        """
        upload = self.get(name)
        del self._by_name[name]
        return upload
