"""Many uploads in one process; run as `python -m tests.tools.weather.many FOLDER NUMBER`, it prints figures as JSON.

Half of the uploads run on the asynchronous side, then half on legacy, from eight threads, through all that a monolith
has installed. The services and the state are those of the environment.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from flags import FileFlagAdmin
from migration import Side
from shim.installation import Installation
from shim.wiring import decision_now
from tests.migration.helpers import eventually
from tests.tools.weather.footprint import memory
from tools.application import app
from tools.providers.kimi import kimi_files
from tools.settings import MEGABYTE, get_settings
from tools.storage import get_storage

FLAG = "async-upload-kimi"
THREADS = 8
LOOKS = 10
"""How often the process is measured on each side; the first look comes after a tenth of its uploads."""


def main() -> None:
    """Upload, measure and say."""
    folder, number = Path(sys.argv[1]), int(sys.argv[2])
    admin = FileFlagAdmin(get_settings().flags_file)
    admin.ensure(FLAG)
    figures: dict[str, list[dict[str, float]]] = {}
    ids: set[str] = set()
    with app.running() as installation, ThreadPoolExecutor(THREADS) as pool:
        for side, percentage in ((Side.CANDIDATE, 100), (Side.LEGACY, 0)):
            admin.set_percentage(FLAG, percentage)
            assert eventually(lambda side=side: decision_now(installation.router, FLAG).serve is side)  # type: ignore[misc]  # bound early
            figures[side] = []
            for _ in range(LOOKS):
                ids.update(pool.map(_upload, itertools.repeat(folder, number // (2 * LOOKS))))
                figures[side].append(_measured(installation))
    json.dump({"ids": len(ids), "sides": figures}, sys.stdout)


_numbers = itertools.count()
_storage = threading.local()


def _upload(folder: Path) -> str:
    path = folder / f"{threading.get_ident()}.txt"
    path.write_text(f"{next(_numbers)} of many")
    if not hasattr(_storage, "own"):
        _storage.own = get_storage()
    return str(kimi_files.upload_via_supabase_gateway_kimi(path, _storage.own)["kimi_file_id"])


def _measured(installation: Installation) -> dict[str, float]:
    installation.ledger.flush()
    process = psutil.Process()
    return {
        **memory(),
        "descriptors": process.num_fds(),
        "threads": process.num_threads(),
        "state MiB": sum(map(_size_of, get_settings().shim_home.glob("*.db*"))) / MEGABYTE,
    }


def _size_of(path: Path) -> int:
    """Bytes of a file; SQLite removes the ones beside a database that no process has open."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


if __name__ == "__main__":
    main()
