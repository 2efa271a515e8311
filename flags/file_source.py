"""Flags from a local file, evaluated by the same engine as a server's."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

from flags.definitions import MAX_BYTES
from flags.errors import FlagDefinitionsError, FlagFileError
from flags.source import Freshness, Source


class FileSource(Source):
    """Reads the file several times a second, so that every edit counts, whatever the file system says of its times.

    A file that is missing or broken means that nobody knows what its author wants: everything goes to legacy at once.
    """

    kind = "file"

    def __init__(
        self, path: Path, *, interval: float, app_name: str, freshness: Freshness, clock: Callable[[], float]
    ) -> None:
        super().__init__(app_name=app_name, freshness=freshness, clock=clock)
        self._path = path
        self._interval = interval
        self._text: str | None = None
        self._stopping = Event()
        self._thread = Thread(target=self._watch, name="flags-file", daemon=True)

    def start(self) -> None:
        """Begin to watch the file."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Stop watching."""
        self._stopping.set()
        self._thread.join(timeout)

    def count(self, name: str, *, enabled: bool) -> None:
        """Do nothing: only a server counts how flags are used."""

    def _watch(self) -> None:
        self._refresh()
        while not self._stopping.wait(self._interval):
            self._refresh()

    def _refresh(self) -> None:
        asked_at = self._clock()
        try:
            self._take(read_flags_file(self._path))
        except FlagFileError as failure:
            self._text = None
            self._fail(failure, forget=True)
        else:
            self._confirm(asked_at)

    def _take(self, text: str) -> None:
        if text == self._text:
            return
        try:
            snapshot = self._read(text)
        except FlagDefinitionsError as broken:
            raise FlagFileError(self._path, broken.problem) from broken
        self._publish(snapshot)
        self._text = text


def read_flags_file(path: Path) -> str:
    """Read a flags file of at most `MAX_BYTES`, without ever waiting for a writer.

    Raises:
        FlagFileError: it is missing, unreadable, too large, or no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - opened by descriptor, so that a pipe cannot block
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FlagFileError(path, "not a regular file")
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FlagFileError(path, error.strerror or type(error).__name__) from error
    if len(content) > MAX_BYTES:
        raise FlagFileError(path, f"larger than {MAX_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise FlagFileError(path, "not UTF-8 text") from error
