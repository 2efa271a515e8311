"""The monolith's load: a few threads that call the upload functions as they always did."""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path

from flags import SHADOW_SUFFIX, FlagAdmin, UnleashRouter
from shim.drill import steady
from shim.wiring import decision_now
from tools.errors import ToolsError
from tools.migrations import NAMES
from tools.providers.spec import PROVIDERS, provider
from tools.settings import MEGABYTE, get_settings
from tools.storage.port import ProviderName, UploadStorage

_DOCUMENTS = Path(__file__).parent / "demo" / "documents"
_REPOSITORY = Path(__file__).parents[1]
_KINDS = ("*.txt", "*.md", "*.pdf", "*.png")


class DemoError(ToolsError):
    """The demonstration cannot go on; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A file to upload, with what is needed to recognise it at the provider."""

    path: Path
    size: int
    sha256: str


def choose_samples(files: Sequence[Path]) -> list[Sample]:
    """The files given, or else documents of this repository.

    Raises:
        DemoError: one of them is no file that can be read.
    """
    return [sample_of(path) for path in files or _own_documents()]


def sample_of(path: Path) -> Sample:
    """The file, measured.

    Raises:
        DemoError: it is no file that can be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Sample(path=path.resolve(), size=file.tell(), sha256=digest)
    except OSError as error:
        raise DemoError(f"{path} cannot be read: {error.strerror}") from error


def make_big_sample(folder: Path, megabytes: int) -> Sample:
    """A new file of this size that nothing can compress."""
    path = folder / f"generated-{megabytes}-MB.bin"
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(MEGABYTE))
    return sample_of(path)


def _own_documents() -> list[Path]:
    samples = [path for kind in _KINDS for path in sorted(_DOCUMENTS.glob(kind))]
    repository = [_REPOSITORY / "README.md", *sorted((_REPOSITORY / "docs").glob("*.md"))]
    return [*samples, *(path for path in repository if path.is_file() and path.stat().st_size)]


# The monolith's load: a few threads that call the upload functions as they always did.


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One upload to be made."""

    sample: Sample
    provider: ProviderName


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the caller of one upload got: an id, or an error."""

    job: Job
    seconds: float
    file_id: str | None = None
    error: str | None = None


def make_jobs(samples: Sequence[Sample], count: int) -> list[Job]:
    """`count` uploads of the files in turn, to all providers in turn that take them."""
    settings = get_settings()
    most = max(PROVIDERS, key=lambda name: PROVIDERS[name].limit(settings))
    jobs: list[Job] = []
    for index in range(count):
        turn, position = divmod(index, len(samples))
        sample = samples[position]
        able = [name for name, each in PROVIDERS.items() if sample.size <= each.limit(settings)] or [most]
        jobs.append(Job(sample=sample, provider=able[(turn + position) % len(able)]))
    return jobs


def upload(job: Job, storage: UploadStorage) -> Receipt:
    """Upload one file; this is the unchanged caller."""
    started = time.perf_counter()
    try:
        to = provider(job.provider)
        file_id = to.upload(job.sample.path, storage)[to.id_key]
    except (ValueError, OSError, RuntimeError) as error:
        return Receipt(job=job, seconds=time.perf_counter() - started, error=str(error))
    return Receipt(job=job, seconds=time.perf_counter() - started, file_id=str(file_id))


def upload_all(
    jobs: Sequence[Job], storage: UploadStorage, *, threads: int, on_done: Callable[[], object]
) -> list[Receipt]:
    """Make all uploads from `threads` threads."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="monolith")
    try:
        # a thread begins with an empty context: the settings in force here are carried over
        futures = [pool.submit(copy_context().run, upload, job, storage) for job in jobs]
        for _ in as_completed(futures):
            on_done()
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def steady_load(jobs: Sequence[Job], storage: UploadStorage, *, threads: int) -> Iterator[list[Receipt]]:
    """Keep uploading from `threads` threads for the length of the block; the list is complete after it."""
    turns = [itertools.count(first, threads) for first in range(threads)]

    def next_upload(caller: int) -> Receipt:
        return upload(jobs[next(turns[caller]) % len(jobs)], storage)

    with steady(next_upload, threads=threads, name="monolith") as receipts:
        yield receipts


# Turns the flags of all migrations together, and waits until this process decides by them.

_TIMEOUT_SECONDS = 15.0
_POLL_SECONDS = 0.01
_HUNDRED = 100


def create_flags(admin: FlagAdmin) -> None:
    """Create the flags of all migrations, on with 0 %."""
    for name in NAMES:
        for flag in (name, name + SHADOW_SUFFIX):
            admin.ensure(flag)
            admin.set_percentage(flag, 0)
            admin.turn_on(flag)


class Steering:
    """The flags, as an operator turns them."""

    def __init__(self, admin: FlagAdmin, router: UnleashRouter) -> None:
        self._admin = admin
        self._router = router

    def serve(self, percentage: int, *, compared: int) -> None:
        """Send a share to the asynchronous path, compare a share, and wait until that is how it is."""
        for name in NAMES:
            self._admin.set_percentage(name, percentage)
            self._admin.set_percentage(name + SHADOW_SUFFIX, compared)
        wait_until(
            lambda: self._shares() == {(percentage, compared)},
            f"the flags took no effect ({self._router.status().error or 'no error is known'})",
        )

    def turn_off(self, reason: str) -> None:
        """Turn off who serves; does not wait."""
        for name in NAMES:
            self._admin.turn_off(name, reason)

    def _shares(self) -> set[tuple[int, int]]:
        decisions = [decision_now(self._router, name) for name in NAMES]
        return {
            (round(decision.probability * _HUNDRED), round(decision.shadow_probability * _HUNDRED))
            for decision in decisions
        }


def comes_true(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Wait until `condition` holds, at most `seconds`; whether it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait for something that is bound to happen.

    Raises:
        DemoError: it did not happen; `otherwise` says so.
    """
    if not comes_true(condition, seconds=_TIMEOUT_SECONDS):
        raise DemoError(f"{otherwise} within {_TIMEOUT_SECONDS:g} s")
