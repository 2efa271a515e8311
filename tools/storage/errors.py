"""The errors of a storage. Their texts are the same whichever client met them."""

from __future__ import annotations

from pathlib import Path

from tools.errors import ToolsError


class StorageError(ToolsError):
    """A storage could not do what it was asked to do."""


class StorageRefusedError(StorageError):
    """The storage answered, and the answer was no.

    `status` is the HTTP status, as far as it is known.
    """

    def __init__(self, *, action: str, status: int | None, code: str, message: str) -> None:
        self.action = action
        self.status = status
        self.code = code
        self.message = message
        what = code if status is None else f"{status} {code}"
        super().__init__(f"{action}: {what}: {message}")


class StorageUnreachableError(StorageError):
    """No connection to the storage was made: nothing was sent."""

    def __init__(self, *, action: str, address: str) -> None:
        self.action = action
        self.address = address
        super().__init__(f"{action}: cannot connect to {address}")


class StorageTimeoutError(StorageError):
    """The storage did not answer in time: what was asked may have happened."""

    def __init__(self, *, action: str, address: str) -> None:
        self.action = action
        self.address = address
        super().__init__(f"{action}: {address} did not answer in time")


class StorageConnectionLostError(StorageError):
    """The connection broke before the answer: what was asked may have happened."""

    def __init__(self, *, action: str, address: str) -> None:
        self.action = action
        self.address = address
        super().__init__(f"{action}: the connection to {address} broke")


class StorageAnswerError(StorageError):
    """The storage answered something that cannot be understood."""

    def __init__(self, *, action: str, problem: str) -> None:
        self.action = action
        super().__init__(f"{action}: {problem}")


class NoFreeKeyError(StorageError):
    """Every key that this content may be kept under holds other content."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"store {key!r}: the name and its alternatives hold other content already")


class BadKeyError(StorageError):
    """A path that cannot be the path of a stored object."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        super().__init__(f"{path!r} cannot be stored: {problem}")


class LocalStorageError(StorageError):
    """The local folder or its table cannot be used."""

    def __init__(self, *, action: str, problem: str, root: Path) -> None:
        self.action = action
        self.root = root
        super().__init__(f"{action}: {problem} (the storage is the folder {root})")
