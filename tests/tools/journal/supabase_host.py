"""One machine of several: a process with a home and a wrong clock of its own. Prints what came of it, one JSON a line.

supabase_host.py '{"url": ..., "key": ..., "home": ..., "skew": ..., "start": ..., "does": "upload"}'
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

REAL_TIME = time.time
PATIENCE_SECONDS = 60.0


def main(task: dict[str, Any]) -> None:
    """Do what was asked for, as soon as the start is given."""
    time.time = lambda: REAL_TIME() + task["skew"]

    from tests.tools.journal.supabase_making import Project, journal_of  # noqa: PLC0415  # with the wrong clock
    from tools.journal import supabase_remote  # noqa: PLC0415  # as above
    from tools.journal import upload as drivers  # noqa: PLC0415  # as above

    # a busy machine is slow, and no test here is to be content with SQLite
    drivers.OPEN_SECONDS = supabase_remote.OPEN_SECONDS = PATIENCE_SECONDS  # type: ignore[misc]  # final for the program
    project = Project(url=task["url"], key=task["key"], set_lease=lambda _: None)
    with ExitStack() as stack:
        journals = [
            stack.enter_context(journal_of(project, Path(task["home"]) / str(number), heartbeat=task["heartbeat"]))
            for number in range(task["callers"])
        ]
        callers = [threading.Thread(target=_ACTIONS[task["does"]], args=(journal, task)) for journal in journals]
        for journal in journals:
            journal.unfinished()  # so that all are connected
        say({"ready": os.getpid()})
        while not Path(task["start"]).exists():
            time.sleep(0.002)
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()


def say(told: object) -> None:
    """Print it at once, in one piece."""
    os.write(1, f"{json.dumps(told)}\n".encode())


def upload(journal: Any, task: dict[str, Any]) -> None:
    """Upload a content to Kimi, by the rule that the gateways follow."""
    from tests.tools.journal.supabase_making import intent  # noqa: PLC0415  # as above
    from tools.journal.port import Finished  # noqa: PLC0415  # as above
    from tools.journal.upload import JournaledUpload, claimed  # noqa: PLC0415  # as above

    following = JournaledUpload(journal=journal, intent=intent(), timeout=60, began=time.monotonic())
    opening = claimed(following)
    if isinstance(opening, Finished):
        say({"file": opening.provider_file_id})
        return
    following.stored("object-1")
    answer = httpx.post(
        f"{task['kimi_url']}/files",
        headers={"Authorization": f"Bearer {task['kimi_key']}"},
        data={"purpose": "file-extract"},
        files={"file": ("report.txt", b"the same everywhere")},
        timeout=20,
    )
    file_id = answer.raise_for_status().json()["id"]
    following.delivered(file_id)
    following.done(recorded=True)
    say({"file": file_id})


def hold(journal: Any, _task: dict[str, Any]) -> None:
    """Claim a content and keep it."""
    from tests.tools.journal.supabase_making import intent, opened  # noqa: PLC0415  # as above

    wanted = intent()
    say({"opened": type(opened(journal, wanted)).__name__, "upload": wanted.upload_id, "owner": journal.owner})
    time.sleep(3600)


def claim(journal: Any, _task: dict[str, Any]) -> None:
    """Try once to claim a content."""
    from tests.tools.journal.supabase_making import intent, opened  # noqa: PLC0415  # as above

    say({"opened": type(opened(journal, intent())).__name__})
    time.sleep(3)


def take_over(journal: Any, task: dict[str, Any]) -> None:
    """Try once to take an unfinished upload over."""
    say({"taken": journal.take_over(task["upload"]) is not None})
    time.sleep(3)


_ACTIONS = {"upload": upload, "hold": hold, "claim": claim, "take_over": take_over}

if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
