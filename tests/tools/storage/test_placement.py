from __future__ import annotations

import pytest

from tools.storage.placement import (
    Absent,
    BucketMissing,
    CreateBucket,
    Done,
    FoundObject,
    Look,
    Outcome,
    Put,
    Step,
    Stored,
    Taken,
    place,
)
from tools.storage.port import BadKeyError, NoFreeKeyError, StorageAnswerError
from tools.transport.loops import drive, drive_async

SHA256 = "0123456789abcdef" * 4
OTHER = "f" * 64
FIRST, SECOND, THIRD = "f/a.txt", "f/a-01234567.txt", f"f/a-{SHA256}.txt"


def played(*outcomes: Outcome) -> tuple[str, list[Step]]:
    """Carry out a plan against a storage that answers like this; the result and the steps that were asked."""
    steps: list[Step] = []
    answers = iter(outcomes)

    def perform(step: Step) -> Outcome:
        steps.append(step)
        return next(answers)

    return drive(place(FIRST, size=3, sha256=SHA256), perform), steps


def test_a_free_path_takes_one_step() -> None:
    """Ordinarily storing is one request."""
    assert played(Stored(object_id="id")) == ("id", [Put(path=FIRST)])


def test_the_same_content_is_the_same_object() -> None:
    """A path that holds this content already answers with its object."""
    existing = FoundObject(object_id="old", size=3, sha256=SHA256)
    assert played(Taken(), existing) == ("old", [Put(path=FIRST), Look(path=FIRST)])


@pytest.mark.parametrize(
    "existing",
    [
        FoundObject(object_id="old", size=3, sha256=OTHER),
        FoundObject(object_id="old", size=4, sha256=SHA256),
        FoundObject(object_id="old", size=3, sha256=None),
        Absent(),
    ],
)
def test_other_content_gets_a_path_of_its_own(existing: Outcome) -> None:
    """Content that differs, or may differ, is never taken for ours and never overwritten."""
    result, steps = played(Taken(), existing, Stored(object_id="new"))
    assert result == "new"
    assert steps[-1] == Put(path=SECOND)


def test_alternatives_are_exhausted_loudly() -> None:
    """When every path holds other content the caller is told."""
    foreign = FoundObject(object_id="old", size=3, sha256=OTHER)
    with pytest.raises(NoFreeKeyError, match=r"f/a\.txt"):
        played(Taken(), foreign, Taken(), foreign, Taken(), foreign)


def test_a_missing_bucket_is_created_once() -> None:
    """The first upload into an empty project works."""
    result, steps = played(BucketMissing(), Done(), Stored(object_id="id"))
    assert result == "id"
    assert steps == [Put(path=FIRST), CreateBucket(), Put(path=FIRST)]


def test_a_bucket_that_stays_missing_is_an_error() -> None:
    """There is no endless creating."""
    with pytest.raises(StorageAnswerError, match="bucket is missing"):
        played(BucketMissing(), Done(), BucketMissing())


def test_an_object_without_id_is_asked_for_it() -> None:
    """A storage that does not name the new object is asked about it."""
    result, steps = played(Stored(object_id=None), FoundObject(object_id="id", size=3, sha256=None))
    assert result == "id"
    assert steps == [Put(path=FIRST), Look(path=FIRST)]


def test_a_bad_path_asks_nothing() -> None:
    """What cannot be stored is refused before the first request."""
    with pytest.raises(BadKeyError):
        drive(place("../a", size=0, sha256=SHA256), lambda _: pytest.fail("asked"))


async def test_both_drivers_do_the_same() -> None:
    """The asynchronous driver asks the same steps and returns the same result."""
    foreign = FoundObject(object_id="old", size=9, sha256=OTHER)
    outcomes = (Taken(), foreign, BucketMissing(), Done(), Stored(object_id="id"))
    steps: list[Step] = []
    answers = iter(outcomes)

    async def perform(step: Step) -> Outcome:
        steps.append(step)
        return next(answers)

    result = await drive_async(place(FIRST, size=3, sha256=SHA256), perform)
    assert (result, steps) == played(*outcomes)


def test_the_last_alternative_names_the_whole_hash() -> None:
    """Two contents can share the beginning of a hash, but not all of it."""
    foreign = FoundObject(object_id="old", size=3, sha256=OTHER)
    _, steps = played(Taken(), foreign, Taken(), foreign, Stored(object_id="id"))
    assert steps[-1] == Put(path=THIRD)
