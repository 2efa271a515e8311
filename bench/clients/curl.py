"""curl, the program."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.clients.uploads import PURPOSE, files_of
from bench.harness import Figure, Figures, Job
from bench.machine import program

_OK = 200


@contextmanager
def curl(job: Job) -> Iterator[_Curl]:
    """`curl -F`, one process for all files, over one connection."""
    yield _Curl(job)


@contextmanager
def curl_each(job: Job) -> Iterator[_CurlEach]:
    """`curl -F`, started again for each file, as scripts do it."""
    yield _CurlEach(job)


class _Curl:
    """Uploads by curl, measured from outside.

    curl sends the tiny file first, as everybody does, so that neither its start nor connecting is counted: the time is
    what it reports of the transfers behind, and the CPU time is what the process needs more than one that sends the
    tiny file only.
    """

    def __init__(self, job: Job) -> None:
        self._url = job.sink.files_url
        self._files = files_of(job)
        self._tiny = Path(job.options["tiny"])
        self._start_cpu = 0.0

    def warm_up(self) -> None:
        """Send the tiny file and see what that costs."""
        _, self._start_cpu = _send([self._tiny], self._url)

    def run(self) -> Figures:
        """Send the tiny file and all others."""
        seconds, cpu = _send([self._tiny, *self._files], self._url)
        return {
            Figure.WALL: sum(seconds[1:]),
            Figure.CPU: max(cpu - self._start_cpu, 0.0),
            Figure.MEMORY: math.nan,  # the kernel counts the parent's memory as the program's until it is executed
        }


class _CurlEach:
    """Uploads by curl with all that comes with it: starting the program, connecting, the handshake."""

    def __init__(self, job: Job) -> None:
        self._url = job.sink.files_url
        self._files = files_of(job)
        self._tiny = Path(job.options["tiny"])

    def warm_up(self) -> None:
        """Send the tiny file."""
        _send([self._tiny], self._url)

    def run(self) -> Figures:
        """Send all files; the time is the one on the clock."""
        cpu = sum(_send([file], self._url)[1] for file in self._files)
        return {Figure.CPU: cpu, Figure.MEMORY: math.nan}


def _send(files: Sequence[Path], url: str) -> tuple[list[float], float]:
    """Seconds of each transfer, and CPU seconds of the process."""
    arguments = [program("curl")]
    for file in files:
        if len(arguments) > 1:
            arguments.append("--next")
        form = ["--form", f"purpose={PURPOSE}", "--form", f"file=@{file}"]
        report = ["--silent", "--output", "/dev/null", "--write-out", "%{http_code} %{time_total}\n"]
        arguments += [*report, *form, url]
    with tempfile.TemporaryFile() as output:
        actions = [(os.POSIX_SPAWN_DUP2, output.fileno(), 1)]
        process = os.posix_spawn(arguments[0], arguments, os.environ, file_actions=actions)
        _, status, usage = os.wait4(process, 0)
        output.seek(0)
        reports = [line.split() for line in output.read().decode().splitlines()]
    if status or len(reports) != len(files) or any(int(code) != _OK for code, _ in reports):
        raise ConnectionError(f"curl ended with status {os.waitstatus_to_exitcode(status)} and said {reports}")
    return [float(seconds) for _, seconds in reports], usage.ru_utime + usage.ru_stime
