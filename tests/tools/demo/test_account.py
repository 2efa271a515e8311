"""The account: that it would find what is lost and what is doubled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from migration import Side
from migration.model import Verdict
from tools.demo import Compared, DemoResult
from tools.demo.results import Account, Answer, Flip, settle
from tools.load import Job, Receipt, Sample, make_jobs, sample_of, upload
from tools.providers.glm import glm_client
from tools.sandbox import RunningSandbox
from tools.sandbox.process import sandboxed
from tools.settings import Settings, use_settings
from tools.storage import get_storage


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Three small files."""
    paths = [tmp_path / f"{number}.txt" for number in range(3)]
    for path in paths:
        path.write_text(path.name)
    return [sample_of(path) for path in paths]


@pytest.fixture
def receipts(sandbox: RunningSandbox, samples: list[Sample]) -> Iterator[list[Receipt]]:
    """Real uploads of these files, to both providers."""
    with use_settings(sandboxed(Settings(), sandbox)):
        yield [upload(job, get_storage()) for job in make_jobs(samples, 4)]


def test_an_honest_account(sandbox: RunningSandbox, receipts: list[Receipt]) -> None:
    """When every upload is answered with what the provider holds, nothing is lost and nothing doubled."""
    assert settle(sandbox, receipts) == Account(answered=4, held=4, shared=0, lost=(), doubled=())


def test_reading_a_document_is_no_upload(sandbox: RunningSandbox, samples: list[Sample]) -> None:
    """GLM is given a file once more to read it for a question; that is neither an upload nor a second one."""
    with use_settings(sandboxed(Settings(), sandbox)):
        receipt = upload(Job(sample=samples[0], provider="glm"), get_storage())
        glm_client.extract_text(samples[0].path, str(receipt.file_id), timeout=10)
    assert settle(sandbox, [receipt]) == Account(answered=1, held=1, shared=0, lost=(), doubled=())


def test_an_upload_nobody_knows_of_is_doubled(sandbox: RunningSandbox, receipts: list[Receipt]) -> None:
    """A file at the provider that no caller was answered with is found, even if a caller was told of a failure."""
    told_of_failure = replace(receipts[0], file_id=None, error="reset")
    account = settle(sandbox, [told_of_failure, *receipts[1:]])
    assert account.doubled == (f"{receipts[0].job.provider} {receipts[0].file_id}",)
    assert account.lost == ()


def test_an_answer_without_a_file_is_lost(sandbox: RunningSandbox, receipts: list[Receipt], tmp_path: Path) -> None:
    """An id that the provider does not hold, or holds with other content, is found; an id for two calls is shared."""
    other = tmp_path / "other.txt"
    other.write_text("something else")
    unknown = replace(receipts[0], file_id="no-such-file")
    changed = replace(receipts[1], job=Job(sample=sample_of(other), provider=receipts[1].job.provider))
    account = settle(sandbox, [unknown, changed, receipts[2], receipts[2], receipts[3]])
    assert account.lost == ("no-such-file", receipts[1].file_id)
    assert account.shared == 1


def test_each_file_goes_to_both_providers(samples: list[Sample]) -> None:
    """Over two rounds every file goes to Kimi and to GLM; one over GLM's limit goes to Kimi only."""
    large = Sample(path=Path("large.bin"), size=10**9, sha256="")
    jobs = make_jobs([*samples, large], 8)
    for sample in samples:
        assert {job.provider for job in jobs if job.sample is sample} == {"kimi", "glm"}
    assert {job.provider for job in jobs if job.sample is large} == {"kimi"}


@pytest.mark.parametrize(
    ("verdict", "lost", "doubled", "ok"),
    [
        (Verdict.IDENTICAL, (), (), True),
        (Verdict.SAME_ERROR, (), (), True),
        (Verdict.DIFFERENT, (), (), False),
        (Verdict.DROPPED, (), (), False),
        (Verdict.IDENTICAL, ("id",), (), False),
        (Verdict.IDENTICAL, (), ("id",), False),
    ],
)
def test_what_makes_a_demonstration_fail(
    verdict: Verdict, lost: tuple[str, ...], doubled: tuple[str, ...], *, ok: bool
) -> None:
    """One lost or doubled upload, or one comparison that does not say that both sides agree, makes it fail."""
    compared = Compared(
        migration="m",
        verdict=verdict,
        size=1,
        differences=(),
        detail="",
        primary=Side.LEGACY,
        primary_seconds=None,
        shadow_seconds=None,
    )
    result = DemoResult(
        flags="a file",
        files=(),
        answer=Answer(file="", question="", answer="", provider="", seconds=0),
        stages=(),
        big_uploads=(),
        trace=(),
        compared=(compared,),
        flip=Flip(last_candidate_begun=0, last_candidate_answered=0, first_legacy_begun=0, uploads=0, failures=0),
        account=Account(answered=1, held=1, shared=0, lost=lost, doubled=doubled),
        seconds=1,
    )
    assert result.ok is ok
