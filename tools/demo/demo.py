"""The demonstration: a question, stages from 0 to 100 %, a flip back under load, and the account of it all."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from migration import Side
from shim.installation import Installation
from shim.wiring import flag_admin
from tools.application import app
from tools.demo.results import (
    Answer,
    BigUpload,
    Compared,
    DemoResult,
    DemoStage,
    Flip,
    PeakMemory,
    Served,
    SideServed,
    TraceLines,
    Watcher,
    settle,
)
from tools.demo.view import DemoView
from tools.load import (
    DemoError,
    Job,
    Receipt,
    Sample,
    Steering,
    choose_samples,
    comes_true,
    create_flags,
    make_big_sample,
    make_jobs,
    steady_load,
    upload,
    upload_all,
    wait_until,
)
from tools.providers.spec import PROVIDERS
from tools.sandbox import RunningSandbox, running_sandbox
from tools.sandbox.process import sandboxed
from tools.settings import MEGABYTE, Settings, get_settings, use_settings
from tools.smart_file_query import SmartFileQueryTool
from tools.storage import get_storage
from tools.storage.port import UploadStorage

PERCENTAGES = (0, 1, 10, 50, 100)

_STAGE_BYTES = 200 * MEGABYTE
_BIG_UPLOADS = 2
_SMALL_SHARE, _SMALL_SHARE_FACTOR = 5, 2.5  # one percent of a few uploads is often none
_CALLS_BEFORE_FLIP = 20
_CALLS_AFTER_FLIP = 20
_SHADOW_SECONDS = 120.0
_TRACE_SECONDS = 2.0
_SHADOW_QUEUE = 5000
_MANY_FILES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What is to be shown.

    Attributes:
        files: the files to upload; documents of this repository if there are none.
        question: what is asked about the first one.
        uploads: how many uploads a stage makes; fewer if the files are large.
        threads: from how many threads.
        compared: percentage of the calls that are compared.
        big_megabytes: size of the file that is uploaded for time and memory.
    """

    files: tuple[Path, ...] = ()
    question: str = "What does a ticket or a boat cost, and when does the night shift hand over?"
    uploads: int = 120
    threads: int = 4
    compared: int = 20
    big_megabytes: int = 50


def run_demo(options: DemoOptions, view: DemoView) -> DemoResult:
    """Show it, in a sandbox and with state of its own. Flags are those of the Unleash server, if one can be steered.

    Raises:
        DemoError: a file cannot be read, or something that was bound to happen did not.
        SandboxError: the sandbox does not start.
        FlagError: the flags cannot be changed.
    """
    started = time.perf_counter()
    samples = choose_samples(options.files)
    with tempfile.TemporaryDirectory(prefix="shim-demo-") as folder:
        home = Path(folder)
        view.began("starting the sandbox and installing the migrations")
        with running_sandbox(home / "sandbox") as sandbox:
            sandbox.set_limits(**{f"{name}_max_files": _MANY_FILES for name in sandbox.urls})
            settings = _settings(get_settings(), sandbox, home, samples)
            create_flags(flag_admin(settings))
            watcher, trace = Watcher(), TraceLines()
            with use_settings(settings), app.running(settings, console=trace, observers=[watcher]) as installation:
                show = _Show(options, view, samples, sandbox, installation, watcher, trace)
                return show.run(make_big_sample(home, options.big_megabytes), started)


def _settings(configured: Settings, sandbox: RunningSandbox, home: Path, samples: Sequence[Sample]) -> Settings:
    """Everything in the sandbox, and the flags in a file of the demonstration's own unless a server can be steered."""
    server = configured.unleash_url and configured.unleash_api_token and configured.unleash_admin_token
    return sandboxed(configured, sandbox).model_copy(
        update={
            "shim_home": home,
            "shim_allowed_roots": tuple({sample.path.parent for sample in samples}),
            "unleash_flags_file": None,
            "unleash_url": configured.unleash_url if server else None,
            "shadow_queue": _SHADOW_QUEUE,
        }
    )


@dataclass(slots=True)
class _Show:
    """A running demonstration."""

    options: DemoOptions
    view: DemoView
    samples: Sequence[Sample]
    sandbox: RunningSandbox
    installation: Installation
    watcher: Watcher
    trace: TraceLines
    storage: UploadStorage = field(default_factory=get_storage)
    receipts: list[Receipt] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)

    def run(self, big: Sample, started: float) -> DemoResult:
        settings = self.installation.settings
        steering = Steering(flag_admin(settings), self.installation.router)
        steering.serve(0, compared=self.options.compared)
        answer = self._ask(self.samples[0])
        big_uploads = [self._upload_big(big) for _ in range(_BIG_UPLOADS)]
        stages = []
        for percentage in PERCENTAGES:
            steering.serve(percentage, compared=self.options.compared)
            stages.append(self._stage(percentage))
        big_uploads += [self._upload_big(big) for _ in range(_BIG_UPLOADS)]
        steering.serve(100, compared=0)
        lines = self._trace_one()
        flip = self._flip(steering)
        return DemoResult(
            flags=settings.unleash_url or "a file",
            files=tuple(sample.path.name for sample in self.samples),
            answer=answer,
            stages=tuple(stages),
            big_uploads=tuple(big_uploads),
            trace=tuple(lines),
            compared=tuple(self.compared),
            flip=flip,
            account=settle(self.sandbox, self.receipts),
            seconds=time.perf_counter() - started,
        )

    def _ask(self, sample: Sample) -> Answer:
        self.view.began("asking a question")
        started = time.perf_counter()
        tool = SmartFileQueryTool(self.storage)
        arguments = {"file_path": str(sample.path), "question": self.options.question}
        document = json.loads(asyncio.run(tool.execute(arguments)))
        seconds = time.perf_counter() - started
        metadata = document["metadata"]
        if document["status"] != "success":
            raise DemoError(f"the question was not answered: {document['content']} ({metadata['error_type']})")
        job = Job(sample=sample, provider=metadata["provider"])
        self.receipts.append(Receipt(job=job, seconds=seconds, file_id=metadata["file_id"]))
        answer = Answer(
            file=sample.path.name,
            question=self.options.question,
            answer=document["content"],
            provider=metadata["provider"],
            seconds=seconds,
        )
        self.view.answered(answer)
        self._take_comparisons()
        return answer

    def _upload_big(self, big: Sample) -> BigUpload:
        self.view.began(f"uploading a file of {big.size // MEGABYTE} MB")
        self.watcher.take_served()
        with PeakMemory() as memory:
            receipt = upload(Job(sample=big, provider=next(iter(PROVIDERS))), self.storage)
        self.receipts.append(receipt)
        if receipt.error is not None:
            raise DemoError(f"the large file was not uploaded: {receipt.error}")
        [served] = self.watcher.take_served()
        result = BigUpload(side=served.side, size=big.size, seconds=receipt.seconds, memory_growth=memory.growth)
        self.view.uploaded_big(result)
        self._take_comparisons()
        return result

    def _stage(self, percentage: int) -> DemoStage:
        longer = _SMALL_SHARE_FACTOR if 0 < percentage < _SMALL_SHARE else 1
        jobs = make_jobs(self.samples, int(self._uploads() * longer))
        self.view.began(f"{percentage} % asynchronous", len(jobs))
        self.watcher.take_served()
        started = time.perf_counter()
        receipts = upload_all(jobs, self.storage, threads=self.options.threads, on_done=self.view.advanced)
        seconds = time.perf_counter() - started
        self.receipts += receipts
        served = self.watcher.take_served()
        compared = self._take_comparisons()
        stage = DemoStage(
            percentage=percentage,
            uploads=len(receipts),
            failures=sum(receipt.error is not None for receipt in receipts),
            served={side: _totals(served, side) for side in Side},
            seconds=seconds,
            verdicts=dict(Counter(each.verdict for each in compared)),
        )
        self.view.staged(stage)
        return stage

    def _uploads(self) -> int:
        """As many as planned, but not so many that large files take for ever; each file at least once."""
        mean_size = sum(sample.size for sample in self.samples) // len(self.samples)
        affordable = _STAGE_BYTES // max(mean_size, 1)
        return max(len(self.samples), min(self.options.uploads, affordable))

    def _trace_one(self) -> list[str]:
        """The spans of one asynchronous upload; none when the `OTEL_*` variables switch tracing off."""
        self.watcher.take_served()
        self.receipts.append(upload(Job(sample=self.samples[0], provider=next(iter(PROVIDERS))), self.storage))
        [served] = self.watcher.take_served()
        comes_true(lambda: self.trace.is_complete(served.trace), seconds=_TRACE_SECONDS)
        lines = self.trace.of_trace(served.trace)
        self.view.traced(lines)
        return lines

    def _flip(self, steering: Steering) -> Flip:
        """Turn the flags off while uploads go on, and see what the calls do."""
        self.view.began("turning the flags off while uploads go on")
        self.watcher.take_served()
        jobs = make_jobs(self.samples, self._uploads())
        with steady_load(jobs, self.storage, threads=self.options.threads) as receipts:
            wait_until(lambda: self._calls_of(Side.CANDIDATE) >= _CALLS_BEFORE_FLIP, "too few calls were asynchronous")
            flipped_at = self.watcher.clock()
            steering.turn_off("the demonstration rolls back")
            wait_until(lambda: self._calls_of(Side.LEGACY) >= _CALLS_AFTER_FLIP, "legacy did not serve again")
        self.receipts += receipts
        served = self.watcher.take_served()
        candidate = [call for call in served if call.side is Side.CANDIDATE]
        legacy = [call for call in served if call.side is Side.LEGACY]
        flip = Flip(
            last_candidate_begun=max(0.0, max(call.began for call in candidate) - flipped_at),
            last_candidate_answered=max(0.0, max(call.ended for call in candidate) - flipped_at),
            first_legacy_begun=min(call.began for call in legacy) - flipped_at,
            uploads=len(receipts),
            failures=sum(receipt.error is not None for receipt in receipts),
        )
        self.view.flipped(flip)
        return flip

    def _calls_of(self, side: Side) -> int:
        return sum(call.side is side for call in self.watcher.served())

    def _take_comparisons(self) -> list[Compared]:
        """Wait for the comparisons of the calls so far."""
        if not self.installation.runtime.shadows.drain(_SHADOW_SECONDS):
            raise DemoError(f"the comparisons did not end within {_SHADOW_SECONDS:g} s")
        compared = self.watcher.take_compared()
        self.compared += compared
        self.view.compared(compared)
        return compared


def _totals(served: Sequence[Served], side: Side) -> SideServed:
    seconds = [call.seconds for call in served if call.side is side]
    return SideServed(calls=len(seconds), mean_seconds=sum(seconds) / len(seconds) if seconds else None)
