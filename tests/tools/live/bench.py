"""What the tests of live shadows share: the migrated uploads against the sandbox, every call compared."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migration import Comparison, Migration, Runtime, ShadowLimits, ShadowMode, Side
from migration.routing import Shim
from migration.testing import FixedRouter, RecordingObserver
from tools.async_file_upload_refactored import cleanup_http_session
from tools.migrations import MIGRATIONS
from tools.sandbox import RunningSandbox
from tools.settings import Settings
from tools.storage.port import ProviderName, UploadStorage

SECONDS = 90.0
MODULES = {"kimi": "tools.providers.kimi.kimi_files", "glm": "tools.providers.glm.glm_files"}
TOOLS = {"kimi": "KimiUploadFilesTool", "glm": "GLMUploadFileTool"}

State = dict[str, Any]


def target_of(provider: ProviderName) -> str:
    return f"{MODULES[provider]}:upload_via_supabase_gateway_{provider}"


def declared(provider: ProviderName, mode: ShadowMode = ShadowMode.LIVE, **changes: Any) -> Migration:
    return dataclasses.replace(MIGRATIONS[target_of(provider)], shadow_mode=mode, **changes)


@dataclass
class Bench:
    """One provider's migrated upload, and what the services hold."""

    provider: ProviderName
    storage: UploadStorage
    sandbox: RunningSandbox
    settings: Settings
    folder: Path
    observer: RecordingObserver = field(default_factory=RecordingObserver)
    router: FixedRouter = field(default_factory=lambda: FixedRouter(shadow=True))
    limits: ShadowLimits = field(default_factory=ShadowLimits)

    def __post_init__(self) -> None:
        self.runtime = Runtime(router=self.router, observers=[self.observer], shadow_limits=self.limits)
        for loop in (self.runtime.loop, self.runtime.shadows.loop):
            loop.on_close(cleanup_http_session)

    def shim(self, migration: Migration | None = None) -> Shim[..., Any]:
        module, _, name = target_of(self.provider).partition(":")
        bare = getattr(importlib.import_module(module), name)
        return Shim(migration or declared(self.provider), getattr(bare, "legacy", bare), self.runtime)

    def tool(self, method: str, mode: ShadowMode = ShadowMode.LIVE) -> Shim[..., Any]:
        tool = getattr(importlib.import_module(MODULES[self.provider]), TOOLS[self.provider])
        migration = MIGRATIONS[f"{MODULES[self.provider]}:{TOOLS[self.provider]}.{method}"]
        return Shim(dataclasses.replace(migration, shadow_mode=mode), getattr(tool, method), self.runtime)

    def compare(
        self, *args: Any, serve: Side = Side.LEGACY, migration: Migration | None = None, shim: Any = None
    ) -> Comparison:
        """Upload once and wait for the verdict."""
        self.router.serve = serve
        before = len(self.observer.comparisons)
        with contextlib.suppress(ValueError, OSError, RuntimeError):  # a failed upload is compared as well
            (shim or self.shim(migration))(*args)
        assert self.runtime.shadows.drain(SECONDS)
        [comparison] = self.observer.comparisons[before:]
        return comparison

    def upload(self, path: Path, **options: Any) -> Comparison:
        return self.compare(path, self.storage, **options)

    def state(self) -> Held:
        """All that is stored anywhere."""
        return Held.now(self)

    @property
    def notices(self) -> list[str]:
        return [notice.text for notice in self.observer.notices]


@dataclass(frozen=True)
class Held:
    """What the services and the embedded storage hold, with the digest of each."""

    files: dict[str, str]
    objects: dict[str, str]
    rows: dict[str, str]
    resumable: int
    copies: list[str]

    @classmethod
    def now(cls, bench: Bench) -> Held:
        state = bench.sandbox.state()
        supabase = state["supabase"]
        files = {file["id"]: repr(sorted(file.items())) for file in state[bench.provider]["files"]}
        objects = {each["name"]: repr(sorted(each.items())) for each in supabase["objects"]}
        rows = {row["provider_file_id"]: repr(sorted(row.items())) for row in supabase["provider_file_uploads"]}
        objects |= dict(_local_objects(bench.settings.shim_home / "storage" / "objects"))
        rows |= dict(_local_rows(bench.settings.shim_home / "uploads.db"))
        copies = bench.settings.trials_folder
        return cls(
            files=files,
            objects=objects,
            rows=rows,
            resumable=len(supabase["resumable"]),
            copies=[str(path) for path in copies.rglob("*")] if copies.exists() else [],
        )

    @property
    def marked(self) -> list[str]:
        """Whatever bears the mark of a live shadow."""
        everything = [*self.files.values(), *self.objects, *self.rows.values(), *self.copies]
        return [text for text in everything if "shadow-" in text]


def _local_objects(folder: Path) -> Iterator[tuple[str, str]]:
    for path in folder.rglob("*") if folder.exists() else []:
        if path.is_file():
            yield str(path.relative_to(folder)), f"{path.stat().st_ino} {path.stat().st_mtime_ns} {path.read_bytes()!r}"


def _local_rows(database: Path) -> Iterator[tuple[str, str]]:

    if not database.exists():
        return
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        for row in connection.execute("SELECT * FROM provider_file_uploads"):
            yield row["provider_file_id"], repr(sorted(dict(row).items()))


def document(folder: Path, data: bytes = b"some text\n" * 5000, name: str = "document.txt") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def troubled(bench: Bench, side: Side, *, before: Any = None, after: Any = None) -> Shim[..., Any]:
    """The migrated upload, with something that happens right before or after `side` runs as a shadow."""
    shim = bench.shim()
    real_legacy, real_candidate = shim.legacy, shim.candidate

    @functools.wraps(real_legacy)
    def legacy(*args: Any, **kwargs: Any) -> Any:
        with _around(before, after):
            return real_legacy(*args, **kwargs)

    async def candidate(*args: Any, **kwargs: Any) -> Any:
        with _around(before, after):
            return await real_candidate.start(*args, **kwargs)

    migration = declared(bench.provider, candidate=candidate if side is Side.CANDIDATE else shim.migration.candidate)
    return Shim(migration, legacy if side is Side.LEGACY else real_legacy, bench.runtime)


@contextlib.contextmanager
def _around(before: Any, after: Any) -> Iterator[None]:
    if before is not None:
        before()
    try:
        yield
    finally:
        if after is not None:
            after()
