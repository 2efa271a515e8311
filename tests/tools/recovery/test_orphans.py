"""Orphans are found, and removed only when asked to, when old enough, and when proved to be ours."""

from __future__ import annotations

import asyncio
import multiprocessing
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import httpx
import pytest

from tests.tools.recovery.bench import Bench, briefly, with_pool
from tests.tools.recovery.conftest import MakeBench
from tools.journal.port import State
from tools.journal.upload import account_of
from tools.recovery import Orphan, OrphanKind, find_orphans, remove_orphans
from tools.recovery.orphans import SAFE_SECONDS, AtWorkError, _alone
from tools.sandbox import FaultKind


def found(bench: Bench, older_than: float = 0.0) -> list[Orphan]:
    return list(asyncio.run(with_pool(find_orphans(bench.settings, older_than=older_than, sleep=briefly)))[0])


def removed(bench: Bench, older_than: float = 0.0) -> list[Orphan]:
    return list(asyncio.run(with_pool(remove_orphans(bench.settings, older_than=older_than, sleep=briefly)))[0])


def delete(bench: Bench, file_id: str) -> None:
    url = f"{account_of(bench.provider, bench.settings)}/files/{file_id}"
    assert httpx.delete(url, headers={"Authorization": "Bearer planted"}).is_success


def test_whole_uploads_are_none(bench: Bench) -> None:
    """What has file, copy and row is left alone, also with a name that another content had before."""
    for content in (b"one", b"two"):
        bench.upload(bench.document(content, "plan.txt"))
    assert found(bench) == []
    assert removed(bench) == []


def test_a_file_of_somebody_else_is_only_listed(bench: Bench) -> None:
    """An account may be shared: without a proof a file stays, however old it is."""
    file_id = bench.send(bench.document())
    [orphan] = removed(bench)
    assert (orphan.kind, orphan.name, orphan.done) == (OrphanKind.FILE, file_id, False)
    assert orphan.kept_because == "nothing proves that it is ours"
    assert list(bench.account().files.values()) == [[file_id]]


def test_a_file_with_our_mark_is_removed(bench: Bench) -> None:
    """The name of a live shadow's file proves that it is ours."""
    bench.send(bench.document(name=f"shadow-{uuid.uuid4().hex}-plan.txt"))
    theirs = bench.send(bench.document(name="shadow-play.txt"))
    assert [orphan.kept_because is None for orphan in found(bench)] == [True, False]
    assert [orphan.done for orphan in removed(bench)] == [True, False]
    assert list(bench.account().files.values()) == [[theirs]]


def test_a_copy_without_a_row_is_removed(bench: Bench) -> None:
    """Copies in the gateways' folders are ours; one of the same name with a row stays."""
    kept = bench.document(b"one", "plan.txt")
    bench.upload(kept)
    bench.store(bench.document(b"two", "plan.txt"))
    [orphan] = found(bench)
    assert (orphan.kind, orphan.kept_because) == (OrphanKind.OBJECT, None)
    [orphan] = removed(bench)
    assert orphan.done
    kept.write_bytes(b"one")
    assert bench.account().is_whole(bench.intent(kept).sha256)
    assert len(bench.account().copies) == 1
    assert bench.unfinished() == []


def test_the_copy_of_who_shares_a_file_is_kept(bench: Bench) -> None:
    """Of two who upload one content at once under two names, one has no row; the copy that he was told of stays."""
    bench.sandbox.inject(FaultKind.LATENCY, bench.provider, "files.create", seconds=1.0)
    first, second = bench.document(b"one", "plan.txt"), bench.document(b"one", "copy of plan.txt")
    with ThreadPoolExecutor() as pool:
        winner = pool.submit(copy_context().run, bench.upload, first)
        bench.sandbox.wait_for_requests(bench.provider, "files.create")
        answers = [bench.upload(second), winner.result()]
    assert len({answer[f"{bench.provider}_file_id"] for answer in answers}) == 1
    assert found(bench) == removed(bench) == []
    [copies] = bench.account().copies.values()
    assert sorted(copies) == sorted(str(answer["supabase_file_id"]) for answer in answers)


def test_a_row_without_a_file_is_marked(bench: Bench) -> None:
    """It is not deleted; the next upload of the content sends it again, and the row is no orphan any more."""
    path = bench.document()
    file_id = str(bench.upload(path)[f"{bench.provider}_file_id"])
    delete(bench, file_id)
    [orphan] = removed(bench)
    assert (orphan.kind, orphan.name, orphan.done) == (OrphanKind.ROW, file_id, True)
    assert [row["upload_status"] for row in bench.account().rows] == ["deleted"]
    sha256 = bench.intent(path).sha256
    assert bench.storage.find_upload(sha256=sha256, provider=bench.provider) is None
    assert found(bench) == []


def test_what_is_young_is_left_alone(bench: Bench) -> None:
    """It may belong to an upload of which the journal does not know."""
    bench.store(bench.document())
    bench.send(bench.document(name=f"shadow-{uuid.uuid4().hex}-plan.txt"))
    orphans = removed(bench, older_than=SAFE_SECONDS)
    assert {(orphan.kept_because, orphan.done) for orphan in orphans} == {("it is too young", False)}
    assert len(orphans) == 2


def test_what_may_be_of_an_unfinished_upload_is_left_alone(bench: Bench) -> None:
    """Recovery comes first."""
    path = bench.document()
    bench.store(path)
    bench.left(path, State.UNKNOWN)
    [orphan] = removed(bench)
    assert (orphan.kept_because, orphan.done) == ("an upload of that name is not finished", False)


def test_without_a_listing_rows_are_left_alone(bench: Bench) -> None:
    """A provider that does not list its files may have them all: no row is marked, and it is told."""
    bench.upload(bench.document())
    bench.sandbox.inject(FaultKind.SERVER_ERROR, bench.provider, "files.list", times=None)
    orphans, unknown = asyncio.run(with_pool(remove_orphans(bench.settings, older_than=0.0, sleep=briefly)))
    assert orphans == []
    assert len(unknown) == 1


def test_with_supabase(make_bench: MakeBench) -> None:
    """Objects and rows in Supabase likewise."""
    bench = make_bench("kimi", storage="supabase")
    whole, gone = bench.document(), bench.document()
    bench.upload(whole)
    delete(bench, str(bench.upload(gone)["kimi_file_id"]))
    bench.store(bench.document())
    assert {(orphan.kind, orphan.done) for orphan in removed(bench)} == {
        (OrphanKind.ROW, True),
        (OrphanKind.OBJECT, True),
    }
    assert bench.account().is_whole(bench.intent(whole).sha256)
    assert found(bench) == []


def test_a_second_remover_is_turned_away(make_bench: MakeBench) -> None:
    """Two at once would do things twice."""
    bench = make_bench("kimi")
    bench.store(bench.document())
    with _alone(bench.settings), pytest.raises(AtWorkError):
        removed(bench)
    assert len(bench.account().copies) == 1
    [orphan] = removed(bench)
    assert orphan.done


def test_two_recoveries_do_nothing_twice(make_bench: MakeBench) -> None:
    """Two processes at once: each upload is settled by one of them, and each surplus file is deleted once."""
    bench = make_bench("kimi")
    paths = [bench.document() for _ in range(6)]
    intents = [bench.left(path, State.SENDING) for path in paths]
    for path in paths[:4]:
        bench.send(path)
        bench.send(path)
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_recover, args=(bench,)) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join(60)
        assert other.exitcode == 0
    account = bench.account()
    assert all(account.is_whole(intent.sha256) for intent in intents)
    deleted = [request["path"] for request in bench.sandbox.requests("kimi", "files.delete")]
    assert len(deleted) == len(set(deleted)) == 4
    assert len(bench.sandbox.requests("kimi", "files.create")) == 8 + 2
    assert bench.unfinished() == []


def _recover(bench: Bench) -> None:
    from tools.settings import use_settings  # noqa: PLC0415  # in a process of its own

    with use_settings(bench.settings):
        bench.recover()
