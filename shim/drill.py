"""A drill: a share of the calls goes to a candidate that goes wrong, and it is measured how soon legacy serves again.

It happens in a folder of its own below `SHIM_HOME`, with flags, guard and ledger of its own and the configured guard
policy, so the migration's own calls, figures and decisions are left alone. What is called is a function of this module,
or, where the application gives a `Workload`, what the migration really calls.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

from flags import SHADOW_SUFFIX, FlagAdmin
from migration import Comparison, Migration, ReadOnly, Side
from migration.guard import DecisionRecord
from migration.model import Notice, Operation, Role
from shim.application import Application
from shim.drill_history import DrillResult
from shim.errors import ShimError
from shim.faults import DrillFault, Faults, Spoil, faulty, wrong_result
from shim.installation import Installation
from shim.settings import ShimSettings, use_settings
from shim.wiring import decision_now, flag_admin, open_guard_store

NAME_SUFFIX = ".drill"
"""Of the flags of a drill: they decide nothing else."""

THREADS = 8
"""Callers at once."""

WARM_UP = {DrillFault.SLOW: 120, DrillFault.MEMORY: 40}
"""Calls by legacy alone, by which the guard learns what is usual; 20 where it needs to know nothing."""

DECISION_SECONDS = 40.0
"""How long the guard may take."""

FLAG_SECONDS = 10.0
"""How long a flag may take to be changed, and to take effect."""

LEGACY_AFTER = 20
"""Calls in a row that legacy must have served at the end."""

HANG_DEADLINE = 1.5
"""Seconds after which a call counts as hanging in a drill."""

CALL_SECONDS = 0.02
"""How long a call of this module's own function takes."""

_POLL_SECONDS = 0.01
_PERCENT = 100

Progress = Callable[[str], object]
R = TypeVar("R")


class DrillError(ShimError):
    """A drill cannot go on; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillPlan:
    """What is tried.

    Attributes:
        migration: which migration.
        fault: what goes wrong.
        percent: share of the calls that the candidate gets.
        severity: percent of these that go wrong.
        on_server: whether the flags are those of the configured server; else they are in a file.
    """

    migration: str
    fault: DrillFault
    percent: int = 10
    severity: int = 100
    on_server: bool = False


# What is called


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a drill calls.

    Attributes:
        settings: what is in force meanwhile; made from those that the workload was given.
        target: the function that is called (`pkg.mod:func`).
        migration: its declaration; the drill gives it another name, and a candidate that goes wrong.
        call: makes one call, given the number of the caller; what it raises is counted as the caller's failure.
        spoil: how the candidate does something else than legacy.
    """

    settings: ShimSettings
    target: str
    migration: Migration
    call: Callable[[int], object]
    spoil: Spoil = wrong_result


Workloads = Callable[[str, ShimSettings], AbstractContextManager[Workload]]
"""Given a migration's name and the settings of the drill: what is called, for the length of the block."""


def doubled(number: int) -> int:
    """The legacy function of a drill without a workload."""
    time.sleep(CALL_SECONDS)
    return 2 * number


def _double(caller: int) -> int:
    """A call; the function is looked up each time, for the migration is put in front of it later."""
    return doubled(caller)


async def doubled_by_the_candidate(number: int) -> int:
    """Its candidate."""
    await asyncio.sleep(CALL_SECONDS)
    return 2 * number


@contextmanager
def own_workload(name: str, settings: ShimSettings) -> Iterator[Workload]:
    """Calls of this module's own function: what they try out is the routing, the guard and the flags."""
    declaration = Migration(name=name, candidate=f"{__name__}:{doubled_by_the_candidate.__name__}", replay=ReadOnly())
    target = f"{__name__}:{doubled.__name__}"
    yield Workload(settings=settings, target=target, migration=declaration, call=_double)


# The drill


def run_drill(
    plan: DrillPlan,
    application: Application,
    *,
    workload: Workloads = own_workload,
    progress: Progress = lambda _: None,
) -> DrillResult:
    """Carry it out, with state of its own below `SHIM_HOME`.

    Args:
        plan: what is tried.
        application: whose settings and wiring are used.
        workload: what is called.
        progress: told in words how far it is.

    Raises:
        DrillError: the flags take no effect, or are to be on a server that is not configured.
        FlagError: the flags cannot be changed.
    """
    configured = application.settings()
    if plan.on_server and not (configured.unleash_url and configured.unleash_admin_token):
        raise DrillError("--on-server needs UNLEASH_URL, UNLEASH_API_TOKEN and UNLEASH_ADMIN_TOKEN")
    folder = configured.shim_home / "drills"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    progress("getting ready")
    with (
        tempfile.TemporaryDirectory(dir=folder) as home,
        workload(plan.migration, _settings(plan, configured, Path(home))) as work,
        use_settings(work.settings),
    ):
        faults = Faults(kind=plan.fault, severity=plan.severity / _PERCENT, spoil=work.spoil)
        name, calls, admin = plan.migration + NAME_SUFFIX, _Calls(), flag_admin(work.settings)
        declared = replace(work.migration, name=name, candidate=faulty(str(work.migration.candidate), faults))
        compared = _PERCENT if plan.fault in {DrillFault.WRONG, DrillFault.BYTES} else 0
        with (
            _flags(admin, name, compared=compared),
            application.running(work.settings, observers=[calls], migrations={work.target: declared}) as installation,
        ):
            return _Drill(plan, work, installation, calls, faults, admin, progress).run()


def _settings(plan: DrillPlan, configured: ShimSettings, home: Path) -> ShimSettings:
    policy = configured.shim_guard_policy
    if plan.fault is DrillFault.MEMORY:  # to measure how soon legacy serves, it must come to that
        others = [each for each in policy.split(",") if each and not each.strip().startswith("memory_growth")]
        policy = ",".join([*others, "memory_growth:rollback"])
    return configured.model_copy(
        update={
            "shim_home": home,
            "unleash_url": configured.unleash_url if plan.on_server else None,
            "unleash_flags_file": home / "flags.json",
            "shim_prometheus_port": None,
            "shim_guard_policy": policy,
            "shim_guard_hang_seconds": HANG_DEADLINE,
            "shadow_mode": "replay",
            "shadow_noise_share": 1.0,
            "shadow_patience": 0.0,
            "shadow_meets": 1.0,
        }
    )


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


@dataclass(frozen=True, slots=True)
class _Served:
    """A call that was answered; times are seconds since the epoch."""

    side: Side
    began: float
    ended: float
    seconds: float


class _Calls:
    """An observer that keeps which side served each call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._served: list[_Served] = []

    @contextmanager
    def operation(self, operation: Operation) -> Iterator[None]:
        """Keep the call as a whole, once it was answered."""
        began = time.time()
        yield
        outcome = operation.outcome
        if operation.side is None and operation.role is Role.PRIMARY and outcome is not None:
            with self._lock:
                self._served.append(_Served(outcome.side, began, time.time(), outcome.seconds))

    def compared(self, comparison: Comparison) -> None:
        """The guard sees comparisons."""

    def noticed(self, notice: Notice) -> None:
        """The ledger keeps messages."""

    def so_far(self) -> list[_Served]:
        with self._lock:
            return list(self._served)

    def take(self) -> list[_Served]:
        """The calls so far, which are then forgotten."""
        with self._lock:
            taken, self._served = self._served, []
        return taken


@dataclass(slots=True)
class _Drill:
    """A drill that goes on."""

    plan: DrillPlan
    work: Workload
    installation: Installation
    calls: _Calls
    faults: Faults
    admin: FlagAdmin
    progress: Progress

    def run(self) -> DrillResult:
        began = time.time()
        warm_up = WARM_UP.get(self.plan.fault, LEGACY_AFTER)
        with steady(partial(_fails, self.work.call), threads=THREADS, name="drill") as failures:
            self.progress("legacy serves, and the guard learns what is usual")
            self._wait(lambda: len(self.calls.so_far()) >= warm_up, "legacy did not serve")
            self.faults.legacy_seconds = max(call.seconds for call in self.calls.take())
            before = len(failures)
            self.progress(f"the candidate gets {self.plan.percent} %, and goes wrong")
            self._take_effect()
            decided = _comes_true(lambda: self._name in self.installation.guard.tripped, seconds=DECISION_SECONDS)
            if decided:
                self.progress("the guard has decided; is legacy serving again?")
                off = _comes_true(lambda: not self.admin.get(self._name).enabled, seconds=FLAG_SECONDS)
                since = time.time()
                self._wait(lambda: self._is_back(since), "legacy did not serve again")
            else:
                off = False
                self.admin.turn_off(self._name, "the drill ends without a decision")
        _comes_true(lambda: self._record() is not None or not decided, seconds=FLAG_SECONDS)
        return self._measured(began, sum(failures[before:]), off=off)

    @property
    def _name(self) -> str:
        return self.plan.migration + NAME_SUFFIX

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

        By when they began: a call that hangs ends long after those that legacy has served meanwhile.
        """
        later = [call for call in self.calls.so_far() if call.began > since]
        return len(later) >= LEGACY_AFTER and all(call.side is Side.LEGACY for call in later)

    def _record(self) -> DecisionRecord | None:
        records = open_guard_store(self.work.settings).records(self._name)
        return next((record for record in records if record.action == "rollback"), None)

    def _measured(self, began: float, failed: int, *, off: bool) -> DrillResult:
        served = sorted(self.calls.take(), key=lambda call: call.began)
        misrouted = [call for call in served if call.side is Side.CANDIDATE]
        record = self._record()
        start = misrouted[0].began if misrouted else began
        undecided = f"The guard decided nothing within {DECISION_SECONDS:g} s, after {len(misrouted)} misrouted calls."
        return DrillResult(
            at=began,
            migration=self.plan.migration,
            fault=self.plan.fault,
            percent=self.plan.percent,
            severity=self.plan.severity,
            flags=self.work.settings.unleash_url or "a file",
            calls=len(served),
            misrouted=len(misrouted),
            failed=failed,
            decided=None if record is None else record.at - start,
            last_begun=max((call.began for call in misrouted), default=start) - start,
            last_ended=max((call.ended for call in misrouted), default=start) - start,
            begun_later=0 if record is None else sum(call.began > record.at for call in misrouted),
            flag_off=record.carried_out_at - start if off and record and record.carried_out_at else None,
            legacy_after=sum(1 for _ in takewhile(lambda call: call.side is Side.LEGACY, reversed(served))),
            rule=None if record is None else record.rule,
            sentence=undecided if record is None else record.sentence,
            seconds=time.time() - began,
        )

    def _wait(self, condition: Callable[[], bool], otherwise: str) -> None:
        if not _comes_true(condition, seconds=DECISION_SECONDS):
            raise DrillError(f"{otherwise} within {DECISION_SECONDS:g} s")


def _fails(call: Callable[[int], object], caller: int) -> bool:
    try:
        call(caller)
    except Exception:  # noqa: BLE001  # whatever a caller is told is an outcome, and is counted
        return True
    return False


@contextmanager
def steady(call: Callable[[int], R], *, threads: int, name: str) -> Iterator[list[R]]:
    """Keep calling from so many threads, each with its number, for the length of the block.

    The list has what was returned, and is complete after the block, which raises what a call has raised.
    """
    returned: list[R] = []
    stop = threading.Event()

    def work(caller: int) -> None:
        while not stop.is_set():
            returned.append(call(caller))

    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    try:
        # a thread begins with an empty context: the settings in force here are carried over
        futures = [pool.submit(copy_context().run, work, caller) for caller in range(threads)]
        yield returned
    finally:
        stop.set()
        pool.shutdown()
    for future in futures:
        future.result()


def _comes_true(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Wait until `condition` holds, at most `seconds`; whether it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
