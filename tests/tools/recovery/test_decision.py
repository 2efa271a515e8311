"""What is decided about an unfinished upload, whatever is seen of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.journal.port import Entry, Facts, Intent, State, UploadSide
from tools.recovery.decision import (
    LATE_SECONDS,
    REPEATED_SECONDS,
    SLACK_SECONDS,
    Seen,
    Step,
    candidates,
    decide,
    look_the_same,
    may_have_made,
)
from tools.recovery.provider_files import Listing

NOW = 1_000_000.0

INTENT = Intent(
    upload_id="1",
    provider="kimi",
    account="http://127.0.0.1/v1",
    purpose="file-extract",
    sha256="ab" * 32,
    filename='a "plan".txt',
    size=10,
    path="/files/plan.txt",
    side=UploadSide.LEGACY,
    began_at=NOW - 100,
)


def entry(state: State = State.SENDING, **facts: object) -> Entry:
    return Entry(
        intent=INTENT,
        state=state,
        facts=Facts(**facts),  # type: ignore[arg-type]  # the test's own words
        owner=None,
        lease_until=None,
        updated_at=NOW - 90,
        finished_at=None,
    )


ANSWERED = entry(State.DELIVERED, provider_file_id="answered", attempts=1)
TOLD = entry(State.UNKNOWN, provider_file_id="answered", attempts=2)

CASES = {
    "nothing there, the file is": (entry(), Seen(files=(), source=True), Step.REPEAT, None, ()),
    "nothing there, nor the file": (entry(), Seen(files=()), Step.CLEAN_UP, None, ()),
    "one": (entry(), Seen(files=("a",)), Step.ADOPT, "a", ()),
    "several": (entry(), Seen(files=("a", "b", "c"), may_have_made=4), Step.ADOPT, "a", ("b", "c")),
    "more than it can have made": (entry(), Seen(files=("a", "b"), may_have_made=1), Step.UNKNOWN, None, ()),
    "answered, and there": (ANSWERED, Seen(files=(), answered_there=True), Step.ADOPT, "answered", ()),
    "answered, and not there": (ANSWERED, Seen(files=(), source=True), Step.REPEAT, None, ()),
    "answered, and one too many": (
        TOLD,
        Seen(files=("a",), answered_there=True, told=True, may_have_made=2),
        Step.ADOPT,
        "answered",
        ("a",),
    ),
    "answered, and more than it can have made": (
        TOLD,
        Seen(files=("a", "b"), answered_there=True, told=True, may_have_made=2),
        Step.ADOPT,
        "answered",
        (),
    ),
    "told, and the content was uploaded again": (
        TOLD,
        Seen(files=(), answered_there=True, told=True, tracked="later", may_have_made=2),
        Step.ADOPT,
        "answered",
        (),
    ),
    "not told, and the content was uploaded again": (
        ANSWERED,
        Seen(files=(), answered_there=True, tracked="later"),
        Step.CLEAN_UP,
        None,
        ("answered",),
    ),
    "not answered, and the content was uploaded again": (
        entry(),
        Seen(files=("a",), tracked="later", source=True),
        Step.CLEAN_UP,
        None,
        ("a",),
    ),
    "another of the same in flight": (
        entry(),
        Seen(files=("a",), rivals=True, source=True),
        Step.WAIT,
        None,
        (),
    ),
    "one of two contents": (
        entry(),
        Seen(files=("a", "b"), mixed=True, source=True, may_have_made=2),
        Step.REPEAT,
        None,
        ("a", "b"),
    ),
    "one of two contents, and no file": (
        entry(),
        Seen(files=("a",), mixed=True, may_have_made=2),
        Step.CLEAN_UP,
        None,
        ("a",),
    ),
    "no listing": (entry(), Seen(files=None, source=True), Step.UNKNOWN, None, ()),
    "no listing, but an answer": (ANSWERED, Seen(files=None), Step.ADOPT, "answered", ()),
    "no listing, and an answer after a failure": (TOLD, Seen(files=None), Step.UNKNOWN, None, ()),
}


@pytest.mark.parametrize("case", CASES)
def test_each_case_is_decided(case: str) -> None:
    """The table of the documents, row by row."""
    about, seen, step, keep, remove = CASES[case]
    decision = decide(about, seen, age=100)
    assert (decision.step, decision.keep, decision.remove) == (step, keep, remove)
    assert decision.reason


def test_what_is_old_is_not_sent_any_more() -> None:
    """An upload is repeated within a day; later it is cleaned up, though its file is still there."""
    seen = Seen(files=(), source=True)
    assert decide(entry(), seen, age=REPEATED_SECONDS).step is Step.REPEAT
    assert decide(entry(), seen, age=REPEATED_SECONDS + 1).step is Step.CLEAN_UP


IDS = st.sampled_from("abcdef")
SEEN = st.builds(
    Seen,
    files=st.none() | st.lists(IDS, unique=True, max_size=6).map(tuple),
    answered_there=st.booleans(),
    told=st.booleans(),
    tracked=st.none() | IDS,
    source=st.booleans(),
    rivals=st.booleans(),
    mixed=st.booleans(),
    may_have_made=st.integers(1, 8),
)
ENTRIES = st.builds(
    entry,
    st.sampled_from([state for state in State if state not in {State.DONE, State.FAILED}]),
    provider_file_id=st.none() | IDS,
    attempts=st.none() | st.integers(0, 5),
)


@given(ENTRIES, SEEN)
def test_no_verdict_harms(about: Entry, seen: Seen) -> None:
    """Whatever is seen: no file that a caller was given is removed, none that was not seen, and none on a guess."""
    decision = decide(about, seen, age=100)
    answered = about.facts.provider_file_id if seen.answered_there else None
    there = {*(seen.files or ()), *([answered] if answered else [])}
    assert set(decision.remove) <= there
    assert decision.keep not in decision.remove
    assert len(decision.remove) + (decision.keep is not None) <= max(1, seen.may_have_made)
    if seen.told and answered:
        assert answered not in decision.remove
    if seen.files is None or seen.rivals or decision.step in {Step.WAIT, Step.UNKNOWN}:
        assert decision.remove == ()
    if seen.files is None:
        assert decision.step in {Step.ADOPT, Step.UNKNOWN}
    if decision.step is Step.REPEAT:
        assert seen.source
        assert set(decision.remove) == there
        assert seen.tracked is None


def listed(**changes: object) -> dict[str, object]:
    file = {
        "id": "f",
        "filename": "a %22plan%22.txt",
        "bytes": 10,
        "purpose": "file-extract",
        "created_at": NOW - 95,
    }
    return {**file, **changes}


def found(*files: dict[str, object], lag: float = 0.0) -> tuple[str, ...]:
    return candidates(entry(), Listing(files=files, taken_at=NOW + lag), now=NOW)


def test_a_file_is_recognised_by_what_a_listing_shows() -> None:
    """Name in any of its forms, size, purpose, and a time within the upload's; the oldest comes first."""
    assert found(listed()) == ("f",)
    assert found(listed(filename='a "plan".txt')) == ("f",)
    for change in ({"filename": "b.txt"}, {"bytes": 11}, {"purpose": "batch"}, {"created_at": NOW - 200}):
        assert found(listed(**change)) == ()
    assert found(listed(id="second"), listed(id="first", created_at=NOW - 96)) == ("first", "second")
    began = INTENT.began_at
    assert found(listed(created_at=began - SLACK_SECONDS)) == ("f",)
    assert found(listed(created_at=began - SLACK_SECONDS - 1)) == ()
    assert found(listed(created_at=NOW - 90 + LATE_SECONDS)) == ("f",)
    assert found(listed(created_at=NOW - 90 + LATE_SECONDS + 1)) == ()


@pytest.mark.parametrize("lag", [-7200.0, 7200.0])
def test_the_clocks_need_not_agree(lag: float) -> None:
    """A provider whose clock is two hours off is told by the time of its own answer."""
    assert found(listed(created_at=NOW - 95 + lag), lag=lag) == ("f",)
    assert found(listed(created_at=NOW - 95), lag=-lag) == ()


@pytest.mark.parametrize("name", ["created_at", "bytes", "filename", "purpose"])
def test_a_listing_that_shows_too_little_is_none(name: str) -> None:
    """A file that cannot be recognised might be the one that is looked for."""
    file = listed()
    assert Listing(files=(file,), taken_at=NOW).is_readable
    del file[name]
    assert not Listing(files=(file,), taken_at=NOW).is_readable


def test_uploads_that_look_the_same() -> None:
    """Content and path do not show in a listing; the rest does."""
    assert look_the_same(INTENT, replace(INTENT, upload_id="2", sha256="00" * 32, path="/elsewhere/plan.txt"))
    for change in ({"purpose": "batch"}, {"size": 11}, {"filename": "b.txt"}, {"account": "https://other"}):
        assert not look_the_same(INTENT, replace(INTENT, **change))


def test_how_many_files_there_can_be() -> None:
    """As many as attempts; an upload that was cut off while sending can have made as many as an SDK sends."""
    assert may_have_made([entry(State.INTENDED)]) == 1
    assert may_have_made([entry(State.SENDING)]) == 4
    assert may_have_made([entry(State.UNKNOWN, attempts=2), entry(State.DELIVERED, attempts=1)]) == 3
