"""Uploads in a process that has too little of something; `python -m tests.tools.limits.scarce FOLDER LIMIT NUMBER`.

One upload runs with all there is, then 60 at once with the limit, then one more without it. LIMIT is `descriptors`
(NUMBER more than are open) or `bytes` (of the longest file that can be written, as when a disk is full). Prints as JSON
what each caller got.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tools.application import app
from tools.providers.glm import glm_files
from tools.providers.kimi import kimi_files
from tools.storage import get_storage

AT_ONCE = 60


def main() -> None:
    """Upload, and say what became of it."""
    folder, limit, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    storage = get_storage()

    def upload(name: str) -> tuple[str, str]:
        path = folder / f"{name}.txt"
        try:
            if name.endswith("1"):
                return "answered", str(glm_files.upload_via_supabase_gateway_glm(path, storage)["glm_file_id"])
            return "answered", str(kimi_files.upload_via_supabase_gateway_kimi(path, storage)["kimi_file_id"])
        except Exception as error:  # noqa: BLE001  # what callers get is what is looked at
            return type(error).__name__, str(error)

    names = ["before-0", *(f"scarce-{index}" for index in range(AT_ONCE)), "after-0"]
    for name in names:
        (folder / f"{name}.txt").write_bytes(f"{name} ".encode() * 100)
    with app.running() as installation, ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = {names[0]: upload(names[0])}
        list(pool.map(str, range(AT_ONCE)))  # its threads are there
        with scarcity(limit, number):
            outcomes |= dict(zip(names[1:-1], pool.map(upload, names[1:-1]), strict=True))
        outcomes[names[-1]] = upload(names[-1])
        installation.ledger.flush()
        json.dump({"outcomes": outcomes, "lost": installation.ledger.lost}, sys.stdout)


@contextmanager
def scarcity(limit: str, number: int) -> Iterator[None]:
    """Have too little for a while."""
    if limit == "bytes":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        which = resource.RLIMIT_FSIZE
    else:
        which, number = resource.RLIMIT_NOFILE, max(map(int, _open_descriptors())) + 1 + number
    soft, hard = resource.getrlimit(which)
    resource.setrlimit(which, (number, hard))
    try:
        yield
    finally:
        resource.setrlimit(which, (soft, hard))


def _open_descriptors() -> list[str]:
    return [entry.name for entry in Path("/proc/self/fd").iterdir()]


if __name__ == "__main__":
    main()
