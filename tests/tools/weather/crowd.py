"""Threads that upload at the same moment; `python -m tests.tools.weather.crowd FOLDER THREADS CANDIDATE(0 or 1)`.

Prints the path of each file by the id that the provider gave it, as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from migration import Runtime, Side, install
from migration.testing import FixedRouter
from tests.tools.weather.bench import TARGETS
from tools.async_file_upload_refactored import cleanup_http_session
from tools.migrations import MIGRATIONS
from tools.providers.glm import glm_files
from tools.providers.kimi import kimi_files
from tools.storage import get_storage


def main() -> None:
    """Upload, and say what became of it."""
    folder, threads, candidate = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1"
    runtime = Runtime(router=FixedRouter(serve=Side.CANDIDATE if candidate else Side.LEGACY))
    runtime.loop.on_close(cleanup_http_session)
    for target in TARGETS.values():
        install(target, MIGRATIONS[target], runtime=runtime)
    together = threading.Barrier(threads)
    storage = get_storage()

    def upload(number: int) -> tuple[str, str]:
        path = folder / f"{folder.name}-{number}.txt"
        path.write_bytes(f"{path} ".encode() * 300)
        together.wait()
        if number % 2:
            return str(glm_files.upload_via_supabase_gateway_glm(path, storage)["glm_file_id"]), str(path)
        return str(kimi_files.upload_via_supabase_gateway_kimi(path, storage)["kimi_file_id"]), str(path)

    with ThreadPoolExecutor(threads) as pool:
        answered = dict(pool.map(upload, range(threads)))
    runtime.close()
    json.dump(answered, sys.stdout)


if __name__ == "__main__":
    main()
