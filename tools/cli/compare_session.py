"""Both implementations at work on the same files, in a sandbox, compared as in production."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from migration import Call, Comparison, Decision, Reason, Runtime, Side
from migration.model import Difference, Notice, Operation
from shim.cli.conventions import CommandError
from tools.application import app
from tools.cli.compare_files import Input, UploadEntrance
from tools.providers.spec import PROVIDERS
from tools.sandbox import Fault, RunningSandbox, running_sandbox
from tools.sandbox.process import sandboxed
from tools.settings import Settings, get_settings, use_settings
from tools.storage import get_storage

FILES_TOGETHER = 20
"""Files of one call where an entrance takes several: more would be more requests than are noted of a call."""

_GRACE_SECONDS = 5.0  # beyond the time that a comparison may take


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedCall:
    """One call that is to be made."""

    provider: str
    entrance: UploadEntrance
    files: Sequence[Input]

    @property
    def label(self) -> str:
        """What it is called in the result."""
        return self.files[0].label if len(self.files) == 1 else f"{len(self.files)} files in one call"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one comparison said; `served` is the side whose call was repeated."""

    job: ComparedCall
    served: Side
    verdict: str
    differences: tuple[Difference, ...]
    detail: str
    seconds: float


def make_jobs(
    files: Sequence[Input], providers: Sequence[str], entrances: Sequence[UploadEntrance]
) -> list[ComparedCall]:
    """One call for each file, provider and entrance; one for many files where the entrance takes several."""
    return [
        ComparedCall(provider=provider, entrance=entrance, files=together)
        for entrance in entrances
        for together in _together(files, FILES_TOGETHER if entrance is UploadEntrance.FILES else 1)
        for provider in providers
    ]


def _together(files: Sequence[Input], count: int) -> list[Sequence[Input]]:
    return [files[first : first + count] for first in range(0, len(files), count)]


def compare_all(
    jobs: Sequence[ComparedCall], faults: Callable[[str], Sequence[Fault]], *, on_done: Callable[[], object]
) -> list[Result]:
    """Make each call with each side serving, and compare it with a run of the other.

    All services are the sandbox's, and nothing of it is left.

    Args:
        jobs: the calls.
        faults: what goes wrong in the calls to a provider.
        on_done: called after each comparison.

    Raises:
        SandboxError: the sandbox does not start.
        CommandError: a call was not compared in time.
    """
    results = []
    with tempfile.TemporaryDirectory(prefix="shim-compare-") as folder, _bench(Path(folder)) as bench:
        for side in Side:
            bench.router.serve = side
            for job in jobs:
                results.append(bench.run(job, faults(job.provider)))
                on_done()
    return results


@contextmanager
def _bench(home: Path) -> Iterator[_Bench]:
    with running_sandbox(home / "sandbox") as sandbox:
        settings = _settings(get_settings(), sandbox, home)
        router, seen = _EveryCall(), _Comparisons()
        with use_settings(settings), app.comparing(settings, router, seen) as runtime:
            yield _Bench(sandbox, settings, runtime, router, seen)


def _settings(configured: Settings, sandbox: RunningSandbox, home: Path) -> Settings:
    """Everything in the sandbox, the storage too; every file that may be uploaded is compared, and once."""
    settings = sandboxed(configured, sandbox)
    largest = max(provider.limit(configured) for provider in PROVIDERS.values()) * FILES_TOGETHER
    return settings.model_copy(
        update={
            "supabase_url": sandbox.supabase_url,
            "supabase_service_role_key": SecretStr(sandbox.key),
            "shim_home": home,
            "shadow_mode": "replay",
            "shadow_max_bytes": largest,
            "shadow_queue_bytes": largest,
            "shadow_hourly_bytes": sys.maxsize,
            "shadow_patience": 0.0,
            "shadow_noise_share": 0.0,
        }
    )


@dataclass(slots=True)
class _EveryCall:
    """Lets one side serve every call, and has every call compared."""

    serve: Side = Side.LEGACY

    def decide(self, call: Call) -> Decision:  # noqa: ARG002  # the port's signature
        """The same for every call."""
        return Decision(serve=self.serve, shadow=True, reason=Reason.STATIC, source="compare")


@dataclass(slots=True)
class _Comparisons:
    """An observer that keeps the comparisons."""

    found: list[Comparison] = field(default_factory=list)

    @contextmanager
    def operation(self, operation: Operation) -> Iterator[None]:  # noqa: ARG002  # the port's signature
        """Look away."""
        yield

    def compared(self, comparison: Comparison) -> None:
        """Keep it."""
        self.found.append(comparison)

    def noticed(self, notice: Notice) -> None:
        """Look away."""


@dataclass(slots=True)
class _Bench:
    """The migrations in front of the sandbox."""

    sandbox: RunningSandbox
    settings: Settings
    runtime: Runtime
    router: _EveryCall
    seen: _Comparisons

    def run(self, job: ComparedCall, faults: Sequence[Fault]) -> Result:
        """Make one call, and wait until it is compared."""
        self.sandbox.reset()
        self.sandbox.set_faults(faults)
        self.seen.found.clear()
        with suppress(ValueError, OSError, RuntimeError):  # what a call raises is compared like any other answer
            _upload(job)
        seconds = self.settings.shadow_timeout
        if not self.runtime.shadows.drain(seconds + _GRACE_SECONDS) or not self.seen.found:
            raise CommandError(f"{job.label} was not compared within {seconds:g} s")
        comparison = self.seen.found[-1]
        return Result(
            job=job,
            served=comparison.decision.serve,
            verdict=comparison.verdict,
            differences=comparison.differences,
            detail=comparison.detail,
            seconds=(comparison.primary_seconds or 0.0) + (comparison.shadow_seconds or 0.0),
        )


def _upload(job: ComparedCall) -> Any:
    """The call, made as the monolith makes it."""
    storage, paths, provider = get_storage(), [str(file.path) for file in job.files], PROVIDERS[job.provider]
    if job.entrance is UploadEntrance.FUNCTION:
        return provider.upload(paths[0], storage)
    tool = provider.upload_tool(storage)
    if job.entrance is UploadEntrance.FILE:
        return tool.run(file=paths[0])
    return tool._run(files=paths)  # noqa: SLF001  # the monolith's callers use it by this name
