"""The rule by which a content gets its key in the storage, without any input or output (sans-IO).

The plan is a generator: it yields what is to be done and is sent what came of it. A blocking and an asynchronous
driver carry it out, so that both ask the same of a storage in the same order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass

from tools.storage.errors import NoFreeKeyError, StorageAnswerError
from tools.storage.keys import candidate_paths, check_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Store the content at `path`, unless something is there."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Say what is stored at `path`."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateBucket:
    """Create the bucket; one that is there already is as good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The content was stored; `object_id` is None when the storage did not name it."""

    object_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Something is stored at this path already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketMissing:
    """There is no bucket to store in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is stored at a path; `sha256` is None when the storage does not know it."""

    object_id: str
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """Nothing is stored at this path (any more)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A step is done, and there is nothing to report of it."""


Step = Put | Look | CreateBucket
Outcome = Stored | Taken | BucketMissing | Found | Absent | Done
Plan = Generator[Step, Outcome, str]


def place(path: str, *, size: int, sha256: str) -> Plan:
    """Store content once, and never over other content. Returns the id of the object that holds it.

    Raises:
        BadKeyError: `path` cannot be the path of an object.
        NoFreeKeyError: every candidate path holds other content.
        StorageAnswerError: the bucket stays missing.
    """
    check_path(path)
    for candidate in candidate_paths(path, sha256):
        outcome = yield from _put(candidate)
        if isinstance(outcome, Stored) and outcome.object_id is not None:
            return outcome.object_id
        existing = yield Look(path=candidate)
        if isinstance(existing, Found) and (
            isinstance(outcome, Stored) or (existing.size, existing.sha256) == (size, sha256)
        ):
            return existing.object_id
    raise NoFreeKeyError(path)


def _put(path: str) -> Generator[Step, Outcome, Outcome]:
    """Put, creating the bucket once if there is none."""
    outcome = yield Put(path=path)
    if isinstance(outcome, BucketMissing):
        yield CreateBucket()
        outcome = yield Put(path=path)
    if isinstance(outcome, BucketMissing):
        raise StorageAnswerError(
            action=f"store {path!r}", problem="the bucket is missing, and creating it did not help"
        )
    return outcome


def carry_out(plan: Plan, perform: Callable[[Step], Outcome]) -> str:
    """Drive a plan with a blocking `perform`."""
    try:
        step = next(plan)
        while True:
            step = plan.send(perform(step))
    except StopIteration as finished:
        return str(finished.value)


async def carry_out_async(plan: Plan, perform: Callable[[Step], Awaitable[Outcome]]) -> str:
    """Drive a plan with an asynchronous `perform`."""
    try:
        step = next(plan)
        while True:
            step = plan.send(await perform(step))
    except StopIteration as finished:
        return str(finished.value)
