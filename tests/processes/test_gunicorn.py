"""Real gunicorn with an application that it loads before it forks."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tools.sandbox import RunningSandbox

UPLOADS = 4
"""At each share, to each provider."""

_KINDS = {"sync": ["--workers", "4"], "gthread": ["--workers", "2", "--threads", "4"]}


@contextmanager
def served(kind: str, folder: Path, *, uploads_before: bool) -> Iterator[str]:
    """Run it, and give its address; it must end in order."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        listening.set_inheritable(True)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        command = [sys.executable, "-m", "gunicorn", "--preload", "--worker-class", kind, *_KINDS[kind]]
        command += ["--bind", f"fd://{listening.fileno()}", "--timeout", "60", "tests.processes.web:application"]
        variables = {"UPLOADS_BEFORE_FORK": "1"} if uploads_before else {}
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(  # noqa: S603  # our own command
                command,
                cwd=folder,
                env={**os.environ, **variables, "PYTHONPATH": os.pathsep.join(sys.path)},
                stderr=log,
                pass_fds=[listening.fileno()],
            )
    try:
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            code = server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            raise
    assert code == 0, (folder / "log").read_text()


@pytest.mark.parametrize(("kind", "uploads_before"), [("sync", False), ("gthread", True)])
def test_workers_of_a_preloaded_application(
    configured: RunningSandbox, tmp_path: Path, set_share: Callable[[int], None], kind: str, *, uploads_before: bool
) -> None:
    """Every request is answered, and each file is whole at the provider, in the store and in its row, at any share."""
    seed = random.Random(4)  # contents of files
    contents = {f"{number}.bin": seed.randbytes(300_000 + number * 7_000) for number in range(6 * UPLOADS)}
    truth = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    processes: Counter[int] = Counter()

    def post(name: str) -> int:
        provider = ("kimi", "glm")[int(name.removesuffix(".bin")) % 2]
        answer = httpx.post(f"{address}/{provider}/{name}", content=contents[name], timeout=60)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["process"])

    def uploads() -> list[dict[str, Any]]:
        return configured.requests("kimi", "files.create")

    by_legacy: list[int] = []
    set_share(0)
    names = sorted(contents)
    with served(kind, tmp_path, uploads_before=uploads_before) as address, ThreadPoolExecutor(8) as clients:
        for part, percent in enumerate((0, 50, 100)):
            set_share(percent)
            if part:
                time.sleep(0.5)  # until every worker has read it
            processes.update(clients.map(post, names[part::3]))
            by_legacy.append(sum("OpenAI/Python" in str(each["headers"]) for each in uploads()))
    assert len(processes) > 1
    at_0, at_50, at_100 = by_legacy
    to_kimi = [name for name in names[::3] if int(name.removesuffix(".bin")) % 2 == 0]
    assert at_0 == len(to_kimi) + uploads_before
    assert at_100 == at_50
    state = configured.state()
    files = [*state["kimi"]["files"], *state["glm"]["files"]]
    assert sorted(each["filename"] for each in files if each["filename"] in truth) == sorted(truth)
    assert {each["filename"]: each["sha256"] for each in files if each["filename"] in truth} == truth
    objects = {each["name"].rpartition("/")[2]: each["sha256"] for each in state["supabase"]["objects"]}
    assert {name: objects.get(name) for name in truth} == truth
    rows = {each["filename"]: each["sha256"] for each in state["supabase"]["provider_file_uploads"]}
    assert {name: rows.get(name) for name in truth} == truth
