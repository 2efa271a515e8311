"""Uploads through the public functions, with a proxy that breaks connections before each service."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migration import Runtime, Side, install, uninstall
from migration.testing import FixedRouter
from tests.support.tcp_proxy import TcpProxy, tcp_proxy
from tools.async_file_upload_refactored import cleanup_http_session
from tools.journal.factory import get_journal
from tools.journal.supabase import SupabaseJournal
from tools.migrations import MIGRATIONS
from tools.providers.glm import glm_files
from tools.providers.kimi import kimi_files
from tools.sandbox import RunningSandbox
from tools.settings import Settings, use_settings
from tools.storage import get_storage
from tools.storage.port import UploadStorage

TARGETS = {
    "kimi": "tools.providers.kimi.kimi_files:upload_via_supabase_gateway_kimi",
    "glm": "tools.providers.glm.glm_files:upload_via_supabase_gateway_glm",
}


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a caller got."""

    answer: dict[str, Any] | None = None
    error: Exception | None = None


@dataclass(slots=True, kw_only=True)
class Held:
    """What there is of one name, everywhere: provider files, whole requests that made them, objects and rows."""

    files: list[dict[str, Any]]
    objects: list[dict[str, Any]]
    rows: list[dict[str, Any]]


@dataclass(slots=True, kw_only=True)
class Bench:
    """Both providers and Supabase, each behind a proxy of its own."""

    sandbox: RunningSandbox
    folder: Path
    providers: dict[str, TcpProxy]
    supabase: TcpProxy
    router: FixedRouter
    storage: UploadStorage
    made: int = field(default=0)

    def file(self, size: int, name: str | None = None) -> Path:
        """A new file of this length, of its own content and name."""
        self.made += 1
        path = self.folder / (name or f"file-{self.made}.txt")
        seed = f"{self.made} {uuid.uuid4()} ".encode()
        path.write_bytes((seed * (size // len(seed) + 1))[:size])
        return path

    def upload(self, provider: str, side: Side, path: Path) -> Outcome:
        """Upload as the monolith does, on this side."""
        self.router.serve = side
        function: Any = (
            kimi_files.upload_via_supabase_gateway_kimi
            if provider == "kimi"
            else glm_files.upload_via_supabase_gateway_glm
        )
        try:
            return Outcome(answer=function(path, self.storage))
        except Exception as error:  # noqa: BLE001  # whatever a caller gets is what is looked at
            return Outcome(error=error)

    def held(self, provider: str, path: Path) -> Held:
        """What there is of a file."""
        state = self.sandbox.state()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        files = [file for file in state[provider]["files"] if file["sha256"] == digest]
        assert files == [file for file in state[provider]["files"] if file["filename"] == path.name]
        return Held(
            files=files,
            objects=[each for each in state["supabase"]["objects"] if str(each).count(path.name)],
            rows=[each for each in state["supabase"]["provider_file_uploads"] if str(each).count(path.name)],
        )

    def sound(self) -> None:
        """Let every further connection pass whole."""
        for proxy in (*self.providers.values(), self.supabase):
            proxy.clear()


@contextmanager
def broken_wires(sandbox: RunningSandbox, folder: Path, *, supabase: bool, **settings: Any) -> Iterator[Bench]:
    """A bench; `supabase` tells whether copies go there, or to a local folder."""
    with ExitStack() as stack:
        kimi = stack.enter_context(tcp_proxy(sandbox.urls["kimi"]))
        glm = stack.enter_context(tcp_proxy(sandbox.urls["glm"]))
        place = stack.enter_context(tcp_proxy(sandbox.supabase_url))
        if supabase:
            settings |= {
                "supabase_url": place.through(sandbox.supabase_url),
                "supabase_service_role_key": "sb_secret_planted",
            }
        values = {
            "kimi_api_url": kimi.through(sandbox.urls["kimi"]),
            "kimi_api_key": sandbox.key,
            "glm_api_url": glm.through(sandbox.urls["glm"]),
            "glm_api_key": sandbox.key,
            "shim_home": folder / "home",
            **settings,
        }
        stack.enter_context(use_settings(Settings(**values)))
        stack.callback(_stop_journal)
        router = FixedRouter()
        runtime = Runtime(router=router)
        runtime.loop.on_close(cleanup_http_session)
        for target in TARGETS.values():
            install(target, MIGRATIONS[target], runtime=runtime)
            stack.callback(uninstall, target)
        stack.callback(runtime.close)
        yield Bench(
            sandbox=sandbox,
            folder=folder,
            providers={"kimi": kimi, "glm": glm},
            supabase=place,
            router=router,
            storage=get_storage(),
        )


def _stop_journal() -> None:
    """That in Supabase keeps a connection; the one on this machine ends by itself."""
    journal = get_journal()
    if isinstance(journal, SupabaseJournal):
        journal.stop()


def descriptors() -> list[str]:
    """What this process has open, but for the journal, which a process has open as long as it lives."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing itself
            found.append(str(entry.readlink()))
    return sorted(each for each in found if "/journal." not in each)


def threads() -> set[str]:
    """The names of those that run, but for the journal's."""
    return {thread.name for thread in threading.enumerate() if "journal" not in thread.name}
