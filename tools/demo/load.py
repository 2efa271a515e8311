"""The monolith's load: a few threads that call the upload functions as they always did."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass

from tools.demo.samples import Sample
from tools.providers.glm import glm_files
from tools.providers.kimi import kimi_files
from tools.settings import get_settings
from tools.storage.port import ProviderName, UploadStorage


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
    """`count` uploads of the files in turn, to both providers in turn where both take them."""
    limit = get_settings().glm_max_bytes
    jobs: list[Job] = []
    for index in range(count):
        turn, position = divmod(index, len(samples))
        sample = samples[position]
        to_glm = sample.size <= limit and (turn + position) % 2 == 1
        jobs.append(Job(sample=sample, provider="glm" if to_glm else "kimi"))
    return jobs


def upload(job: Job, storage: UploadStorage) -> Receipt:
    """Upload one file; this is the unchanged caller."""
    started = time.perf_counter()
    try:
        if job.provider == "kimi":
            file_id = kimi_files.upload_via_supabase_gateway_kimi(job.sample.path, storage)["kimi_file_id"]
        else:
            file_id = glm_files.upload_via_supabase_gateway_glm(job.sample.path, storage)["glm_file_id"]
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
    receipts: list[Receipt] = []
    stop = threading.Event()

    def work(first: int) -> None:
        turn = first
        while not stop.is_set():
            receipts.append(upload(jobs[turn % len(jobs)], storage))
            turn += threads

    pool = ThreadPoolExecutor(threads, thread_name_prefix="monolith")
    try:
        futures = [pool.submit(copy_context().run, work, first) for first in range(threads)]
        yield receipts
    finally:
        stop.set()
        pool.shutdown()
    for future in futures:
        future.result()
