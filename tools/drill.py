"""What `shim drill` calls here: uploads to the sandbox, by the function that the migration is about."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shim.drill import THREADS, Workload, own_workload
from shim.faults import Candidate
from shim.settings import ShimSettings
from tools.load import Job, sample_of, upload
from tools.migrations import MIGRATIONS
from tools.sandbox import running_sandbox
from tools.sandbox.process import sandboxed
from tools.settings import get_settings, use_settings
from tools.storage import get_storage

SAMPLE_BYTES = 20_000
_MANY_FILES = 1_000_000


class UploadFailedError(Exception):
    """An upload of a drill failed, as its caller was told."""


@contextmanager
def uploads(name: str, settings: ShimSettings) -> Iterator[Workload]:
    """A sandbox, and callers that upload a file each, again and again, to the provider of the migration `name`.

    Raises:
        SandboxError: the sandbox does not start.
    """
    home = settings.shim_home
    provider: Any = name.removeprefix("async-upload-")
    target = next((each for each in MIGRATIONS if each.endswith(f":upload_via_supabase_gateway_{provider}")), None)
    if target is None:  # a migration of something else
        with own_workload(name, settings) as work:
            yield work
        return
    with running_sandbox(home / "sandbox") as sandbox:
        sandbox.set_limits(**{f"{name}_max_files": _MANY_FILES for name in sandbox.urls})
        own = sandboxed(get_settings(), sandbox).model_copy(
            update={name: getattr(settings, name) for name in ShimSettings.model_fields}
        )
        with use_settings(own):
            storage = get_storage()
        jobs = [Job(sample=sample_of(_file(home, caller)), provider=provider) for caller in range(THREADS)]

        def call(caller: int) -> None:
            receipt = upload(jobs[caller], storage)
            if receipt.error is not None:
                raise UploadFailedError(receipt.error)

        yield Workload(settings=own, target=target, migration=MIGRATIONS[target], call=call, spoil=spoilt)


def _file(home: Path, caller: int) -> Path:
    """A content for each caller: uploads of one content wait for each other."""
    path = home / f"drill-{caller}.txt"
    path.write_bytes(f"Fire brigade {caller} practises on Thursdays.\n".encode() * (SAMPLE_BYTES // 42))
    return path


async def spoilt(real: Candidate, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Upload a copy with another last byte, under the same name."""
    file_path, *rest = args
    with tempfile.TemporaryDirectory(prefix="shim-drill-") as folder:
        copy = Path(folder) / Path(file_path).name
        await asyncio.to_thread(_copy_spoilt, Path(file_path), copy)
        return await real(copy, *rest, **kwargs)


def _copy_spoilt(path: Path, copy: Path) -> None:
    shutil.copyfile(path, copy)
    with copy.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
