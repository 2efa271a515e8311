"""Flags in a local file: watched, and changed safely by several programs at once."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flags.admin import (
    Flag,
    aimed_at,
    check_name,
    check_percentage,
    describe,
    governed_rollouts,
    new_rollout,
    with_reason,
    without_reason,
)
from flags.definitions import MAX_BYTES, Json, parse_definitions
from flags.errors import FlagDefinitionsError, FlagFileError, FlagNotFoundError
from flags.source import FlagSource, Freshness
from migration.rollout import Exposure

_LOCK_SECONDS = 5.0
_LOCK_POLL_SECONDS = 0.01


class FlagFileSource(FlagSource):
    """Reads the file several times a second, so that every edit counts, whatever the file system says of its times.

    If the file is missing or broken, its author's intent is unknown: legacy serves every call at once.
    """

    kind = "file"

    def __init__(
        self, path: Path, *, interval: float, app_name: str, freshness: Freshness, clock: Callable[[], float]
    ) -> None:
        super().__init__(thread="flags-file", interval=interval, app_name=app_name, freshness=freshness, clock=clock)
        self._path = path
        self._text: str | None = None

    def count(self, name: str, *, enabled: bool) -> None:
        """Do nothing: only a server counts how flags are used."""

    def _refresh(self) -> None:
        asked_at = self._clock()
        try:
            self._take(read_flags_file(self._path))
        except FlagFileError as failure:
            self._text = None
            # before the first flag is made there is no file, and legacy serves as it is meant to
            not_made_yet = self._confirmed_at is None and isinstance(failure.__cause__, FileNotFoundError)
            self._fail(failure, forget=True, level=logging.INFO if not_made_yet else logging.WARNING)
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


# Changing flags


class FileFlagAdmin:
    """Edits a file that holds what Unleash's `/api/client/features` answers; implements `FlagAdmin`.

    A lock file beside it keeps concurrent edits from losing each other. Each edit replaces the file as a whole, so a
    reader, or a crash, finds the old or the new state and nothing between. What it does not know it keeps.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def list(self) -> Sequence[Flag]:
        """All flags, by name; none if the file does not exist yet."""
        return sorted(map(_summary, self._load()["features"]), key=lambda flag: flag.name)

    def get(self, name: str) -> Flag:
        """One flag."""
        return _summary(_find(self._load(), name))

    def ensure(self, name: str) -> Flag:
        """Create the flag, on with a rollout of 0 %, unless it exists."""
        check_name(name)
        with self._edited() as definitions:
            try:
                feature = _find(definitions, name)
            except FlagNotFoundError:
                feature = _new_feature(name)
                definitions["features"].append(feature)
        return _summary(feature)

    def set_percentage(self, name: str, percentage: int) -> Flag:
        """Set the share of the flag's rollout, for everybody."""
        return self.set_exposure(name, Exposure(check_percentage(percentage)))

    def set_exposure(self, name: str, exposure: Exposure) -> Flag:
        """Set who is in the flag's rollout."""
        share, constraints = aimed_at(exposure)
        with self._edited() as definitions:
            feature = _find(definitions, name)
            for rollout in governed_rollouts(name, feature.get("strategies") or ()):
                rollout["parameters"]["rollout"] = share
                rollout["constraints"] = constraints
        return _summary(feature)

    def turn_off(self, name: str, reason: str) -> Flag:
        """Turn the flag off and note the reason in its description."""
        with self._edited() as definitions:
            feature = _find(definitions, name)
            feature["enabled"] = False
            feature["description"] = with_reason(feature.get("description"), reason)
        return _summary(feature)

    def turn_on(self, name: str) -> Flag:
        """Turn the flag on, with the percentage it has; why it was off leaves its description."""
        with self._edited() as definitions:
            feature = _find(definitions, name)
            if not feature.get("strategies"):
                feature["strategies"] = [new_rollout(name)]
            feature["enabled"] = True
            if "description" in feature:
                feature["description"] = without_reason(feature["description"])
        return _summary(feature)

    def _load(self) -> Json:
        if not self._path.exists():
            return {"version": 2, "features": []}
        try:
            return parse_definitions(read_flags_file(self._path))
        except FlagDefinitionsError as broken:
            raise FlagFileError(self._path, f"{broken.problem}; repair or remove it") from broken

    @contextmanager
    def _edited(self) -> Iterator[Json]:
        """The definitions, to be changed; written back if the block succeeds and changed them."""
        with self._locked():
            definitions = self._load()
            before = json.dumps(definitions)
            yield definitions
            if json.dumps(definitions) != before:
                self._write(json.dumps(definitions, indent=2, ensure_ascii=False).encode() + b"\n")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self._path.with_name(self._path.name + ".lock")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FlagFileError(self._path, f"cannot be locked: {error.strerror}") from error
        try:
            self._wait_for_lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _wait_for_lock(self, descriptor: int) -> None:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise FlagFileError(self._path, f"locked by another program for {_LOCK_SECONDS:.0f} s") from None
                time.sleep(_LOCK_POLL_SECONDS)
            else:
                return

    def _write(self, content: bytes) -> None:
        """Replace the file at once and durably; a symbolic link stays one."""
        if len(content) > MAX_BYTES:
            raise FlagFileError(self._path, f"would be larger than {MAX_BYTES} bytes; nothing was changed")
        target = Path(os.path.realpath(self._path))
        try:
            descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # mode 0600
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, target)  # noqa: PTH105 - one style with the calls around it
            except BaseException:
                os.unlink(temporary)  # noqa: PTH108 - as above
                raise
            _sync_folder(target.parent)
        except OSError as error:
            raise FlagFileError(self._path, f"cannot be written: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _find(definitions: Json, name: str) -> Json:
    check_name(name)
    for feature in definitions["features"]:
        if feature["name"] == name:
            found: Json = feature
            return found
    raise FlagNotFoundError(name)


def _new_feature(name: str) -> Json:
    return {
        "name": name,
        "type": "release",
        "description": "",
        "project": "default",
        "enabled": True,
        "stale": False,
        "impressionData": False,
        "strategies": [new_rollout(name)],
        "variants": [],
    }


def _summary(feature: dict[str, Any]) -> Flag:
    return describe(
        feature["name"],
        feature.get("strategies") or (),
        enabled=bool(feature.get("enabled")),
        description=feature.get("description"),
    )
