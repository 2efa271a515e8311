"""One drill: traffic in a sandbox, a share of it on a candidate that goes wrong, and what the guard does about it."""

from __future__ import annotations

import asyncio
import fcntl
import functools
import importlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from operator import attrgetter
from pathlib import Path
from random import Random
from typing import Any, BinaryIO

from flags import SHADOW_SUFFIX, FlagAdmin
from migration import Migration, Side
from migration.guard import DecisionRecord
from shim.errors import ShimError
from shim.installation import Installation
from shim.wiring import decision_now, flag_admin, open_guard_store
from tools.application import app
from tools.demo.load import Job, Receipt, comes_true, sample_of, steady_load
from tools.demo.watching import Served, Watcher
from tools.migrations import MIGRATIONS
from tools.sandbox import running_sandbox
from tools.sandbox.settings import sandboxed
from tools.settings import MEGABYTE, Settings, get_settings, use_settings
from tools.storage import get_storage


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillResult:
    """The measures of one drill. Times are seconds since the first upload that was misrouted began.

    Attributes:
        at: when the drill began, seconds since the epoch.
        migration: which migration.
        fault: what went wrong.
        percent: share of the uploads that the new implementation got.
        severity: percent of these that went wrong.
        flags: where the flags were: `a file`, or the server's address.
        uploads: how many were made while the share was in force or just had been.
        misrouted: how many of them the new implementation served.
        failed: how many failed, as their callers were told.
        decided: when the guard decided; None if it did not.
        last_begun: when the last misrouted upload began.
        last_ended: when the last one ended.
        begun_later: misrouted uploads that began after the decision.
        flag_off: when the flag was off for everybody; None if it was not.
        legacy_after: uploads that legacy served in a row at the end.
        rule: the rule by which the guard decided.
        sentence: the decision in words, or why there is none.
        seconds: what the drill took in all.
    """

    at: float
    migration: str
    fault: str
    percent: int
    severity: int
    flags: str
    uploads: int
    misrouted: int
    failed: int
    decided: float | None
    last_begun: float
    last_ended: float
    begun_later: int
    flag_off: float | None
    legacy_after: int
    rule: str | None
    sentence: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether legacy serves again, here and for everybody."""
        return self.decided is not None and self.flag_off is not None and self.legacy_after > 0


# What goes wrong in a drill, in the new implementation only.

TIMEOUT_SECONDS = 0.5
"""After which an upload fails for want of an answer."""

HANG_SECONDS = 6.0
"""How long an upload hangs: it must end, for a caller waits for it."""

SLOWER_SECONDS = 0.2
"""How much longer than legacy an upload takes."""

HELD_BYTES = 64 * MEGABYTE
MAX_HELD_BYTES = 512 * MEGABYTE
"""Memory that each upload keeps, and that all of them keep together."""

Candidate = Callable[..., Coroutine[Any, Any, Any]]


class FaultKind(StrEnum):
    """What goes wrong."""

    ERROR = "error"  # it fails at once
    TIMEOUT = "timeout"  # it fails after a while, for want of an answer
    HANG = "hang"  # it does not end for a long time
    SLOW = "slow"  # it takes longer than legacy
    BYTES = "bytes"  # it uploads something else than it was given
    MEMORY = "memory"  # it keeps memory


@dataclass(slots=True)
class Faults:
    """What befalls the calls of a candidate.

    Attributes:
        kind: what goes wrong.
        severity: the share of its calls that it befalls (0..1).
        legacy_seconds: how long legacy takes at most, which "slow" is measured by.
        random: the source of chance.
        held: the memory that is kept.
    """

    kind: FaultKind
    severity: float = 1.0
    legacy_seconds: float = 0.0
    random: Random = field(default_factory=Random)
    held: list[bytes] = field(default_factory=list)

    async def around(self, real: Candidate, *args: Any, **kwargs: Any) -> Any:
        """Call the candidate, and let it go wrong or not."""
        if self.random.random() >= self.severity:
            return await real(*args, **kwargs)
        match self.kind:
            case FaultKind.ERROR:
                raise RuntimeError("the drill lets this upload fail")
            case FaultKind.TIMEOUT | FaultKind.HANG:
                await asyncio.sleep(TIMEOUT_SECONDS if self.kind is FaultKind.TIMEOUT else HANG_SECONDS)
                raise TimeoutError("the drill lets this upload time out")
            case FaultKind.SLOW:
                return await self._slowly(real, *args, **kwargs)
            case FaultKind.BYTES:
                return await _spoilt(real, *args, **kwargs)
            case FaultKind.MEMORY:
                if len(self.held) * HELD_BYTES < MAX_HELD_BYTES:
                    self.held.append(os.urandom(1) * HELD_BYTES)  # written to, or the system would not give it
                return await real(*args, **kwargs)

    async def _slowly(self, real: Candidate, *args: Any, **kwargs: Any) -> Any:
        began = time.monotonic()
        try:
            return await real(*args, **kwargs)
        finally:
            await asyncio.sleep(max(0.0, began + self.legacy_seconds + SLOWER_SECONDS - time.monotonic()))


def faulty(candidate: str, faults: Faults) -> Candidate:
    """The candidate `pkg.mod:func`, which goes wrong as `faults` says."""
    module, _, attribute = candidate.partition(":")
    real: Candidate = attrgetter(attribute)(importlib.import_module(module))

    @functools.wraps(real)
    async def going_wrong(*args: Any, **kwargs: Any) -> Any:
        return await faults.around(real, *args, **kwargs)

    return going_wrong


async def _spoilt(real: Candidate, file_path: Any, *args: Any, **kwargs: Any) -> Any:
    """Upload a copy with another last byte, under the same name."""
    with tempfile.TemporaryDirectory(prefix="shim-drill-") as folder:
        copy = Path(folder) / Path(file_path).name
        await asyncio.to_thread(_copy_spoilt, Path(file_path), copy)
        return await real(copy, *args, **kwargs)


def _copy_spoilt(path: Path, copy: Path) -> None:
    shutil.copyfile(path, copy)
    with copy.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))


# One drill: traffic in a sandbox, a share of it on a candidate that goes wrong, and what the guard does about it.

KEEP_DRILLS = 1_000
"""Drills that are kept; the oldest go first."""


class DrillHistoryError(ShimError):
    """The history cannot be read or written."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"the history of drills {path} cannot be used: {problem}; move it away, a new one is made")


class DrillHistory:
    """The file; made, with its folder, when the first drill is kept (0600)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, result: DrillResult) -> None:
        """Keep a drill.

        Raises:
            DrillHistoryError: it cannot be kept.
        """
        with self._locked() as file:
            lines = [*file.read().splitlines(), json.dumps(asdict(result)).encode()][-KEEP_DRILLS:]
            file.seek(0)
            file.write(b"".join(line + b"\n" for line in lines))
            file.truncate()

    def drills(self, migration: str | None = None) -> list[DrillResult]:
        """All drills, or those of one migration, newest first.

        Raises:
            DrillHistoryError: the file cannot be read, or is none of these.
        """
        if not self._path.exists():
            return []
        with self._locked() as file:
            try:
                drills = [DrillResult(**json.loads(line)) for line in file.read().splitlines()]
            except (ValueError, TypeError) as error:
                raise DrillHistoryError(self._path, f"a line of it is no drill ({error})") from error
        return [drill for drill in reversed(drills) if migration in {None, drill.migration}]

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield file
        except OSError as error:
            raise DrillHistoryError(self._path, str(error)) from error


# One drill: traffic in a sandbox, a share of it on a candidate that goes wrong, and what the guard does about it.

NAME_SUFFIX = ".drill"
"""Of the flags of a drill: nobody else's calls are decided by them."""

THREADS = 8
"""Callers at once."""

WARM_UP = {FaultKind.SLOW: 120, FaultKind.MEMORY: 40}
"""Uploads by legacy alone, by which the guard learns what is usual; 20 where it needs to know nothing."""

DECISION_SECONDS = 40.0
"""How long the guard may take."""

FLAG_SECONDS = 10.0
"""How long a flag may take to be changed, and to take effect."""

LEGACY_AFTER = 20
"""Uploads in a row that legacy must have served at the end."""

HANG_DEADLINE = 1.5
"""Seconds after which an upload counts as hanging in a drill."""

SAMPLE_BYTES = 20_000
_MANY_FILES = 1_000_000
_PERCENT = 100

Progress = Callable[[str], object]


class DrillError(ShimError):
    """A drill cannot go on; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be tried.

    Attributes:
        migration: which migration.
        fault: what goes wrong.
        percent: share of the uploads that the new implementation gets.
        severity: percent of these that go wrong.
        on_server: whether the flags are those of the configured server; else they are in a file.
    """

    migration: str
    fault: FaultKind
    percent: int = 10
    severity: int = 100
    on_server: bool = False


def run_drill(plan: Plan, progress: Progress = lambda _: None) -> DrillResult:
    """Carry it out, with state of its own below `SHIM_HOME`.

    Raises:
        DrillError: the flags take no effect, or are to be on a server that is not configured.
        SandboxError: the sandbox does not start.
        FlagError: the flags cannot be changed.
    """
    configured = get_settings()
    if plan.on_server and not (configured.unleash_url and configured.unleash_admin_token):
        raise DrillError("--on-server needs UNLEASH_URL, UNLEASH_API_TOKEN and UNLEASH_ADMIN_TOKEN")
    folder = configured.shim_home / "drills"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    progress("starting the sandbox")
    with tempfile.TemporaryDirectory(dir=folder) as home, running_sandbox(_path(home) / "sandbox") as sandbox:
        sandbox.set_limits(kimi_max_files=_MANY_FILES, glm_max_files=_MANY_FILES)
        settings = _settings(plan, sandboxed(configured, sandbox), _path(home), configured)
        faults = Faults(kind=plan.fault, severity=plan.severity / _PERCENT)
        watcher = Watcher(clock=time.time)
        admin, name = flag_admin(settings), plan.migration + NAME_SUFFIX
        with (
            use_settings(settings),
            _flags(admin, name, compared=_PERCENT if plan.fault is FaultKind.BYTES else 0),
            app.running(settings, observers=[watcher], migrations=_migrations(plan, faults)) as installation,
        ):
            return _Drill(plan, settings, installation, watcher, faults, admin, progress).run()


def _path(home: str) -> Path:
    return Path(home)


def _settings(plan: Plan, settings: Settings, home: Path, configured: Settings) -> Settings:
    policy = configured.shim_guard_policy
    if plan.fault is FaultKind.MEMORY:  # to measure how soon legacy serves, it must come to that
        others = [each for each in policy.split(",") if each and not each.strip().startswith("memory_growth")]
        policy = ",".join([*others, "memory_growth:rollback"])
    return settings.model_copy(
        update={
            "shim_home": home,
            "unleash_url": configured.unleash_url if plan.on_server else None,
            "unleash_flags_file": None,
            "shim_prometheus_port": None,
            "shim_guard_policy": policy,
            "shim_guard_hang_seconds": HANG_DEADLINE,
            "shadow_mode": "replay",
            "shadow_noise_share": 1.0,
            "shadow_patience": 0.0,
            "shadow_meets": 1.0,
        }
    )


def _migrations(plan: Plan, faults: Faults) -> Mapping[str, Migration]:
    """What is declared, but for the one that is called: that has the drill's name, and a candidate that goes wrong."""
    function = f":upload_via_supabase_gateway_{_provider(plan)}"
    return {
        target: replace(
            migration, name=plan.migration + NAME_SUFFIX, candidate=faulty(str(migration.candidate), faults)
        )
        if target.endswith(function)
        else migration
        for target, migration in MIGRATIONS.items()
    }


def _provider(plan: Plan) -> str:
    return plan.migration.rpartition("-")[2]


@contextmanager
def _flags(admin: FlagAdmin, name: str, *, compared: int) -> Iterator[None]:
    """The flags of the drill: on with 0 %, and off afterwards."""
    for flag, percentage in ((name, 0), (name + SHADOW_SUFFIX, compared)):
        admin.ensure(flag)
        admin.set_percentage(flag, percentage)
        admin.turn_on(flag)
    try:
        yield
    finally:
        for flag in (name, name + SHADOW_SUFFIX):
            admin.turn_off(flag, "the drill is over")


@dataclass(slots=True)
class _Drill:
    """A drill under way."""

    plan: Plan
    settings: Settings
    installation: Installation
    watcher: Watcher
    faults: Faults
    admin: FlagAdmin
    progress: Progress

    def run(self) -> DrillResult:
        began = time.time()
        warm_up = WARM_UP.get(self.plan.fault, LEGACY_AFTER)
        with steady_load(self._jobs(), get_storage(), threads=THREADS) as receipts:
            self.progress("legacy serves, and the guard learns what is usual")
            self._wait(lambda: len(self.watcher.served()) >= warm_up, "legacy did not serve")
            usual = self.watcher.take_served()
            self.faults.legacy_seconds = max(call.seconds for call in usual)
            before = len(receipts)
            self.progress(f"the new implementation gets {self.plan.percent} %, and goes wrong")
            self._take_effect()
            decided = comes_true(lambda: self._name in self.installation.guard.tripped, seconds=DECISION_SECONDS)
            if decided:
                self.progress("the guard has decided; is legacy serving again?")
                off = comes_true(lambda: not self.admin.get(self._name).enabled, seconds=FLAG_SECONDS)
                since = self.watcher.clock()
                self._wait(lambda: self._is_back(since), "legacy did not serve again")
            else:
                off = False
                self.admin.turn_off(self._name, "the drill ends without a decision")
        comes_true(lambda: self._record() is not None or not decided, seconds=FLAG_SECONDS)
        return self._measured(began, receipts[before:], off=off)

    @property
    def _name(self) -> str:
        return self.plan.migration + NAME_SUFFIX

    def _jobs(self) -> list[Job]:
        """A content for each caller: uploads of one content wait for each other."""
        jobs = []
        for caller in range(THREADS):
            path = self.settings.shim_home / f"drill-{caller}.txt"
            path.write_bytes(f"Fire brigade {caller} practises on Thursdays.\n".encode() * (SAMPLE_BYTES // 42))
            jobs.append(Job(sample=sample_of(path), provider="kimi" if _provider(self.plan) == "kimi" else "glm"))
        return jobs

    def _take_effect(self) -> None:
        self.admin.set_percentage(self._name, self.plan.percent)
        self._wait(
            lambda: (
                decision_now(self.installation.router, self._name).probability > 0
                or self._name in self.installation.guard.tripped
            ),
            "the flag took no effect",
        )

    def _is_back(self, since: float) -> bool:
        """Whether legacy has served so many that began after `since`, and the candidate none.

        By when they began: an upload that hangs ends long after those that legacy has served meanwhile.
        """
        later = [call for call in self.watcher.served() if call.began > since]
        return len(later) >= LEGACY_AFTER and all(call.side is Side.LEGACY for call in later)

    def _record(self) -> DecisionRecord | None:
        records = open_guard_store(self.settings).records(self._name)
        return next((record for record in records if record.action == "rollback"), None)

    def _measured(self, began: float, receipts: Sequence[Receipt], *, off: bool) -> DrillResult:
        served = sorted(self.watcher.take_served(), key=lambda call: call.began)
        misrouted = [call for call in served if call.side is Side.CANDIDATE]
        record = self._record()
        start = misrouted[0].began if misrouted else began
        return DrillResult(
            at=began,
            migration=self.plan.migration,
            fault=self.plan.fault,
            percent=self.plan.percent,
            severity=self.plan.severity,
            flags=self.settings.unleash_url or "a file",
            uploads=len(served),
            misrouted=len(misrouted),
            failed=sum(receipt.error is not None for receipt in receipts),
            decided=None if record is None else record.at - start,
            last_begun=max((call.began for call in misrouted), default=start) - start,
            last_ended=max((call.ended for call in misrouted), default=start) - start,
            begun_later=0 if record is None else sum(call.began > record.at for call in misrouted),
            flag_off=record.carried_out_at - start if off and record and record.carried_out_at else None,
            legacy_after=_legacy_at_the_end(served),
            rule=None if record is None else record.rule,
            sentence=_no_decision(misrouted) if record is None else record.sentence,
            seconds=time.time() - began,
        )

    def _wait(self, condition: Callable[[], bool], otherwise: str) -> None:
        if not comes_true(condition, seconds=DECISION_SECONDS):
            raise DrillError(f"{otherwise} within {DECISION_SECONDS:g} s")


def _legacy_at_the_end(served: Sequence[Served]) -> int:
    number = 0
    for call in reversed(served):
        if call.side is not Side.LEGACY:
            break
        number += 1
    return number


def _no_decision(misrouted: Sequence[Served]) -> str:
    return f"The guard decided nothing within {DECISION_SECONDS:g} s, after {len(misrouted)} misrouted uploads."
