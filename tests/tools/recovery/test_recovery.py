"""Unfinished uploads are brought to an end: adopted, repeated or cleaned up, and never guessed."""

from __future__ import annotations

import time

import pytest

from tests.tools.recovery.bench import Bench, is_finished
from tests.tools.recovery.conftest import MakeBench
from tools.journal.port import Facts, State, UploadSide
from tools.recovery import Step
from tools.sandbox import FaultKind

DEAD = [State.INTENDED, State.STORED, State.SENDING, State.ABANDONED, State.UNKNOWN]


@pytest.mark.parametrize("state", DEAD)
def test_one_file_is_adopted(bench: Bench, state: State) -> None:
    """However far the journal says that it came: the file that it has made becomes a whole upload."""
    path = bench.document()
    intent = bench.left(path, state)
    file_id = bench.send(path)
    [resolution] = bench.recover()
    assert (resolution.step, resolution.done, resolution.file_id) == (Step.ADOPT, True, file_id)
    assert bench.account().is_whole(intent.sha256)
    assert bench.unfinished() == []
    assert bench.entry(intent.upload_id) is State.DONE
    assert bench.recover() == []


def test_of_several_files_the_oldest_stays(bench: Bench) -> None:
    """What the SDK has sent again is removed."""
    path = bench.document()
    intent = bench.left(path, State.SENDING)
    first, *others = [bench.send(path) for _ in range(3)]
    [resolution] = bench.recover()
    assert (resolution.step, resolution.file_id) == (Step.ADOPT, first)
    assert set(resolution.removed) == set(others)
    assert bench.account().is_whole(intent.sha256)


@pytest.mark.parametrize("state", DEAD)
def test_what_is_not_there_is_uploaded_again(bench: Bench, state: State) -> None:
    """By the same implementation, which journals it again; the old intent ends with the new file."""
    path = bench.document()
    intent = bench.left(path, state)
    [resolution] = bench.recover()
    assert (resolution.step, resolution.done, resolution.trouble) == (Step.REPEAT, True, None)
    account = bench.account()
    assert account.files[intent.sha256] == [resolution.file_id]
    assert account.is_whole(intent.sha256)
    assert bench.unfinished() == []
    assert bench.entry(intent.upload_id) is State.DONE


@pytest.mark.parametrize("change", ["gone", "other content", "a folder"])
def test_what_cannot_be_completed_is_cleaned_up(bench: Bench, change: str) -> None:
    """Without the file that was to be uploaded the copy goes, too: no caller was promised anything."""
    path = bench.document()
    bench.store(path)
    intent = bench.left(path, State.STORED)
    path.unlink()
    if change == "other content":
        path.write_bytes(bytes(1000))
    elif change == "a folder":
        path.mkdir()
    [resolution] = bench.recover()
    assert (resolution.step, resolution.done) == (Step.CLEAN_UP, True)
    assert bench.account().is_absent(intent.sha256)
    assert bench.entry(intent.upload_id) is State.FAILED


def test_a_file_without_any_copy_is_no_upload(bench: Bench) -> None:
    """If the copy was never stored and cannot be any more, the file at the provider goes as well."""
    path = bench.document()
    intent = bench.left(path, State.SENDING)
    file_id = bench.send(path)
    path.unlink()
    [resolution] = bench.recover()
    assert (resolution.step, resolution.removed) == (Step.CLEAN_UP, (file_id,))
    assert bench.account().is_absent(intent.sha256)


def test_a_copy_makes_up_for_the_file(bench: Bench) -> None:
    """With file and copy there, the row is written though the file that was uploaded is gone."""
    path = bench.document()
    bench.store(path)
    intent = bench.left(path, State.SENDING)
    bench.send(path)
    path.unlink()
    [resolution] = bench.recover()
    assert (resolution.step, resolution.done) == (Step.ADOPT, True)
    assert bench.account().is_whole(intent.sha256)


def test_what_a_caller_was_given_stays(bench: Bench) -> None:
    """Of an answered upload with a second file, the answered one stays, even if it is the younger one."""
    path = bench.document()
    older, answered = bench.send(path), bench.send(path)
    facts = Facts(provider_file_id=answered, attempts=2)
    intent = bench.left(path, State.UNKNOWN, facts=facts)
    [resolution] = bench.recover()
    assert (resolution.file_id, resolution.removed) == (answered, (older,))
    assert bench.account().is_whole(intent.sha256)


def test_a_missing_row_is_written(bench: Bench) -> None:
    """An upload that stands though its row could not be written gets its row."""
    path = bench.document()
    bench.store(path)
    facts = Facts(provider_file_id=bench.send(path), attempts=1, error="the row could not be written")
    intent = bench.left(path, State.UNKNOWN, facts=facts)
    path.unlink()
    bench.recover()
    assert bench.account().is_whole(intent.sha256)


def test_files_of_others_are_left_alone(bench: Bench) -> None:
    """With more files than the upload can have made some are another upload's: nothing is removed, and it is told."""
    path = bench.document()
    bench.left(path, State.UNKNOWN, facts=Facts(attempts=1))
    two = {bench.send(path), bench.send(path)}
    [resolution] = bench.recover()
    assert (resolution.step, resolution.done) == (Step.UNKNOWN, False)
    assert {file_id for files in bench.account().files.values() for file_id in files} == two
    assert [entry.state for entry in bench.unfinished()] == [State.UNKNOWN]


def test_two_contents_that_look_the_same(bench: Bench) -> None:
    """Whose file it is cannot be told, so both are made again, each with its own content."""
    first, second = bench.document(b"one " * 50, "a/plan.txt"), bench.document(b"two " * 50, "b/plan.txt")
    intents = [bench.left(path, State.SENDING) for path in (first, second)]
    bench.send(second)
    found = bench.recover()
    assert [resolution.step for resolution in found] == [Step.REPEAT, Step.REPEAT]
    account = bench.account()
    assert all(account.is_whole(intent.sha256) for intent in intents)


def test_a_repeated_upload_of_the_same_content_is_one_upload(bench: Bench) -> None:
    """A caller that came again after the crash has its file; what the dead upload made is too many."""
    path = bench.document()
    intent = bench.left(path, State.SENDING)
    bench.send(path)
    answered = bench.upload(path)[f"{bench.provider}_file_id"]
    bench.recover()
    account = bench.account()
    assert account.files[intent.sha256] == [answered]
    assert account.is_whole(intent.sha256)
    assert bench.unfinished() == []


def test_two_failures_of_one_content_are_one_upload(bench: Bench) -> None:
    """Each of two calls ended without a known outcome: one of them is repeated, and its file serves for both."""
    path = bench.document()
    intent, _ = [bench.left(path, State.UNKNOWN, facts=Facts(attempts=3)) for _ in range(2)]
    assert [resolution.step for resolution in bench.recover()] == [Step.REPEAT, Step.CLEAN_UP]
    assert bench.account().is_whole(intent.sha256)
    assert bench.unfinished() == []


def test_two_crashes_of_one_content_are_one_upload(bench: Bench) -> None:
    """The older intent has lost its claim to the younger one, whose claim is not waited for: it is dead as well."""
    path = bench.document()
    bench.left(path, State.ABANDONED)
    intent = bench.left(path, State.SENDING)
    assert sorted(resolution.step for resolution in bench.recover()) == [Step.CLEAN_UP, Step.REPEAT]
    assert bench.account().is_whole(intent.sha256)
    assert bench.unfinished() == []


def test_a_living_upload_is_not_touched(bench: Bench) -> None:
    """What a living process works on is not recovered, and a dead upload that looks the same waits for it."""
    path = bench.document()
    dead = bench.left(path, State.SENDING)
    living = bench.intent(path)
    bench.journal.open(living, overlapping=0.0).result(10)  # takes the claim of the dead one
    file_id = bench.send(path)
    [resolution] = bench.recover()
    assert (resolution.upload_id, resolution.step, resolution.done) == (dead.upload_id, Step.WAIT, False)
    assert bench.account().files[dead.sha256] == [file_id]
    assert {entry.state for entry in bench.unfinished()} == {State.INTENDED, State.ABANDONED}


@pytest.mark.parametrize("state", [State.SENDING, State.UNKNOWN])
def test_without_a_listing_nothing_is_guessed(bench: Bench, state: State) -> None:
    """A provider that does not list its files: nothing is sent, nothing is removed, until it lists them."""
    path = bench.document()
    intent = bench.left(path, state)
    bench.send(path)
    bench.sandbox.inject(FaultKind.SERVER_ERROR, bench.provider, "files.list", times=None)
    [resolution] = bench.recover()
    assert (resolution.step, resolution.done) == (Step.UNKNOWN, False)
    assert len(bench.sandbox.requests(bench.provider, "files.create")) == 1
    assert bench.sandbox.requests(bench.provider, "files.delete") == []
    assert bench.entry(intent.upload_id) is state
    bench.sandbox.clear_faults()
    bench.recover()
    assert bench.account().is_whole(intent.sha256)


def test_without_a_listing_an_answer_counts(bench: Bench) -> None:
    """An upload that was answered after one attempt needs no listing to be completed."""
    path = bench.document()
    facts = Facts(provider_file_id=bench.send(path), attempts=1)
    intent = bench.left(path, State.DELIVERED, facts=facts)
    bench.sandbox.inject(FaultKind.SERVER_ERROR, bench.provider, "files.list", times=None)
    bench.recover()
    assert bench.account().is_whole(intent.sha256)
    assert bench.unfinished() == []


def test_a_dry_run_changes_nothing(bench: Bench) -> None:
    """It tells what would be done; the services see no request that changes anything."""
    path = bench.document()
    intent = bench.left(path, State.SENDING)
    file_id = bench.send(path)
    [resolution] = bench.recover(apply=False)
    assert (resolution.step, resolution.done, resolution.file_id) == (Step.ADOPT, False, file_id)
    assert bench.account().rows == []
    assert [entry.state for entry in bench.unfinished()] == [State.SENDING]
    assert bench.recover()[0].upload_id == intent.upload_id


def test_what_cannot_be_done_is_left_to_a_later_recovery(bench: Bench) -> None:
    """A provider that refuses leaves the upload unfinished, and the next recovery completes it."""
    path = bench.document()
    intent = bench.left(path, State.STORED)
    bench.sandbox.inject(FaultKind.QUOTA_EXCEEDED, bench.provider, "files.create", times=None)
    [resolution] = bench.recover()
    assert (resolution.step, resolution.done) == (Step.REPEAT, False)
    assert resolution.trouble is not None
    assert not is_finished(bench.entry(intent.upload_id))
    bench.sandbox.clear_faults()
    bench.recover()
    assert bench.account().is_whole(intent.sha256)
    assert bench.unfinished() == []


def test_another_account_is_left_alone(make_bench: MakeBench) -> None:
    """An upload to an address that is not configured stays as it is."""
    bench = make_bench("kimi", UploadSide.ASYNC)
    bench.left(bench.document(), State.SENDING, account="https://elsewhere.example/v1")
    [resolution] = bench.recover()
    assert resolution.step is Step.UNKNOWN
    assert "https://elsewhere.example/v1" in resolution.reason
    assert bench.sandbox.requests(bench.provider, "files.create") == []


def test_with_supabase(make_bench: MakeBench) -> None:
    """Copies and rows in Supabase are made good and removed likewise, of uploads that another machine began."""
    bench = make_bench("kimi", UploadSide.ASYNC, "supabase")
    adopted, removed = bench.document(), bench.document()
    bench.store(removed)
    intents = [bench.left(path, State.SENDING) for path in (adopted, removed)]
    bench.send(adopted)
    removed.unlink()
    assert [resolution.step for resolution in bench.recover()] == [Step.ADOPT, Step.CLEAN_UP]
    account = bench.account()
    assert account.is_whole(intents[0].sha256)
    assert account.is_absent(intents[1].sha256)
    assert bench.unfinished() == []
    assert [bench.entry(intent.upload_id) for intent in intents] == [State.DONE, State.FAILED]


@pytest.mark.parametrize("state", DEAD)
def test_what_another_machine_left_is_uploaded_again(make_bench: MakeBench, side: UploadSide, state: State) -> None:
    """The claim in the shared journal passes from the one that died to the repeated upload."""
    bench = make_bench("kimi", side, "supabase")
    intent = bench.left(bench.document(), state)
    [resolution] = bench.recover()
    assert (resolution.step, resolution.done, resolution.trouble) == (Step.REPEAT, True, None)
    assert bench.account().is_whole(intent.sha256)
    assert bench.unfinished() == []
    assert bench.entry(intent.upload_id) is State.DONE


def test_the_number_is_bounded(make_bench: MakeBench) -> None:
    """The oldest come first; the others are the next recovery's."""
    bench = make_bench("kimi", UploadSide.ASYNC)
    intents = [bench.left(bench.document(), State.SENDING, began_at=time.time() - 10 + n) for n in range(5)]
    found = bench.recover(most=2)
    assert [resolution.upload_id for resolution in found] == [intent.upload_id for intent in intents[:2]]
    assert len(bench.unfinished()) == 3
