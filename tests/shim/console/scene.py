"""What the console shows in the tests: uploads that were really made through the sandbox, compared and rolled back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from flags import FileFlagAdmin
from migration import Side
from shim.console import Access, Console, ConsoleSources
from shim.faults import DrillFault, Faults, faulty
from shim.installation import Installation
from shim.wiring import open_guard_store, open_ledger
from tests.migration.helpers import eventually
from tools.application import app
from tools.demo.results import Watcher
from tools.drill import spoilt
from tools.load import Job, sample_of, steady_load
from tools.migrations import MIGRATIONS
from tools.sandbox import RunningSandbox
from tools.settings import Settings, use_settings
from tools.storage import get_storage

FLAG = "async-upload-kimi"
TARGET = "tools.providers.kimi.kimi_files:upload_via_supabase_gateway_kimi"
TOKEN = "a-token-for-the-tests"
SECONDS = 60.0
CALLERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A console that runs.

    Attributes:
        url: its address.
        token: what rolling back takes.
        settings: what it runs with.
    """

    url: str
    token: str
    settings: Settings


@contextmanager
def served(settings: Settings, *, host: str = "127.0.0.1", every: float = 0.2) -> Iterator[Served]:
    """Run a console in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        with closing(ConsoleSources.of(app, settings)) as sources:
            console = Console(sources, Access(host=host, token=TOKEN), every=every)
            asyncio.run_coroutine_threadsafe(console.start(), loop).result(10)
            try:
                yield Served(url=console.url, token=TOKEN, settings=settings)
            finally:
                asyncio.run_coroutine_threadsafe(console.stop(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.1), loop).result(10)  # connections end a turn after they close
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


def settings_for(sandbox: RunningSandbox, home: Path) -> Settings:
    """A machine whose services are the sandbox's and whose flags are in a file; every call can be compared."""
    return Settings(
        kimi_api_url=sandbox.urls["kimi"],
        glm_api_url=sandbox.urls["glm"],
        kimi_api_key=sandbox.key,
        glm_api_key=sandbox.key,
        shim_home=home,
        shim_instance="web-1",
        shadow_noise_share=1.0,
        shadow_patience=0.0,
        shadow_meets=1.0,
    )


@dataclass(slots=True)
class Scene:
    """Traffic through an installation, and what befalls its candidate."""

    settings: Settings
    installation: Installation
    watcher: Watcher
    faults: Faults
    admin: FileFlagAdmin

    def share(self, percent: int, *, compared: int = 100) -> None:
        """Let the candidate serve this share, and wait until it does."""
        for name, percentage in ((FLAG, percent), (f"{FLAG}.shadow", compared)):
            self.admin.ensure(name)
            self.admin.set_percentage(name, percentage)
            self.admin.turn_on(name)
        wanted = Side.CANDIDATE if percent else Side.LEGACY
        self.watcher.take_served()
        assert eventually(lambda: sum(call.side is wanted for call in self.watcher.served()) > 4, SECONDS)

    def wait_for(self, verdict: str, times: int = 3) -> None:
        """Wait until a verdict has been found so often."""
        ledger = open_ledger(self.settings)
        assert eventually(lambda: ledger.verdicts(FLAG).get(verdict, 0) >= times, SECONDS), ledger.verdicts(FLAG)

    def go_wrong(self) -> None:
        """Let every upload of the candidate fail, and wait for the guard."""
        self.faults.kind, self.faults.severity = DrillFault.ERROR, 1.0
        assert eventually(lambda: FLAG in self.installation.guard.tripped, SECONDS)
        store = open_guard_store(self.settings)
        assert eventually(lambda: any(record.carried_out_at for record in store.records(FLAG)), SECONDS)


@contextmanager
def scene(settings: Settings, folder: Path) -> Iterator[Scene]:
    """Let four callers upload a file again and again, each its own."""
    watcher, faults = Watcher(clock=time.time), Faults(kind=DrillFault.WRONG, severity=0.0, spoil=spoilt)
    candidate = faulty(str(MIGRATIONS[TARGET].candidate), faults)
    migrations = {**MIGRATIONS, TARGET: replace(MIGRATIONS[TARGET], candidate=candidate)}
    paths = [folder / f"report-{number}.txt" for number in range(CALLERS)]
    for number, path in enumerate(paths):
        path.write_text(f"Ferry {number} leaves at noon.\n" * 400)
    jobs = [Job(sample=sample_of(path), provider="kimi") for path in paths]
    with use_settings(settings), app.running(settings, observers=[watcher], migrations=migrations) as installation:
        admin = FileFlagAdmin(settings.flags_file)
        for name in (FLAG, f"{FLAG}.shadow"):
            admin.ensure(name)
        with steady_load(jobs, get_storage(), threads=CALLERS):
            yield Scene(settings, installation, watcher, faults, admin)
        assert installation.runtime.shadows.drain(SECONDS)  # so that every shadow that is seen has run to its end


def fill(settings: Settings, folder: Path) -> None:
    """A day at work: legacy alone, a share on the candidate, comparisons that differ, and a roll-back by the guard."""
    with scene(settings, folder) as day:
        day.share(0)
        day.wait_for("identical")
        day.share(30)
        day.wait_for("identical", 8)
        time.sleep(3)
        day.faults.severity = 0.3  # now and then a spoilt byte
        day.wait_for("different", 1)
        day.go_wrong()
        time.sleep(2.5)
