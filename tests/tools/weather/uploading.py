"""A small monolith that uploads until it is ended.

Started as `python -m tests.tools.weather.uploading FOLDER MODE HANDLER`. Its services and its state are those of the
environment. FOLDER/log has a line for each upload that was begun, and one with the id for each that was answered. MODE
says who uploads: `threads`, `awaiting` (tasks of an event loop) or `main` (the main thread). HANDLER is what the
monolith itself does about SIGTERM: `none`, `flag` (it ends in order after the upload that it is at) or `exit`
(`sys.exit(7)`).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from tools.application import app
from tools.providers.glm import glm_files
from tools.providers.kimi import kimi_files
from tools.storage import get_storage

AT_ONCE = 6
NAMES = itertools.count()


class Monolith:
    """Uploads, and says so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = get_storage()
        self.ending = False
        self._log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def upload(self) -> None:
        provider, path, function = self._next()
        self._note("answered", path.name, function(path, self.storage)[f"{provider}_file_id"])

    async def upload_awaiting(self) -> None:
        provider, path, function = self._next()
        self._note("answered", path.name, (await function.aio(path, self.storage))[f"{provider}_file_id"])

    def upload_on(self) -> None:
        while not self.ending:
            self.upload()

    async def upload_on_awaiting(self) -> None:
        while not self.ending:
            await self.upload_awaiting()

    def _next(self) -> tuple[str, Path, Any]:
        number = next(NAMES)
        path = self.folder / f"{os.getpid()}-{number}.txt"
        path.write_bytes(f"{path.name} ".encode() * 500)
        self._note("begun", path.name)
        if number % 2:
            return "glm", path, glm_files.upload_via_supabase_gateway_glm
        return "kimi", path, kimi_files.upload_via_supabase_gateway_kimi

    def _note(self, *words: str) -> None:
        os.write(self._log, (" ".join(words) + "\n").encode())


async def _await_all(monolith: Monolith) -> None:
    await asyncio.gather(*(monolith.upload_on_awaiting() for _ in range(AT_ONCE)))


def main() -> None:
    """Upload until the end."""
    folder, mode, handler = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    monolith = Monolith(folder)

    def end(*_: object) -> None:
        monolith.ending = True
        if handler == "exit":
            sys.exit(7)

    if handler != "none":
        signal.signal(signal.SIGTERM, end)
    with app.running():
        if mode == "awaiting":
            asyncio.run(_await_all(monolith))
        elif mode == "main":
            monolith.upload_on()
        else:
            threads = [threading.Thread(target=monolith.upload_on) for _ in range(AT_ONCE)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


if __name__ == "__main__":
    main()
