"""Runs contenders, each in a fresh process, and watches what the sink gets."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.child import FIGURES_FILE, Order
from bench.harness import Contender, Figure, Row, RunFailedError
from bench.metering import ticking_beside
from bench.sink import Certificate, Sink, build_sink, make_certificate, running_sink

ROOT = Path(__file__).parents[1]

NIQUESTS_FOLDER = Path(sys.prefix) / "niquests"
"""niquests replaces urllib3 where it is installed, so it has a folder that only its own process knows."""

_ALWAYS_DROPPED = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "PYTHONPATH", "PYTHONASYNCIODEBUG", "PYTHONDEVMODE")
_LARGEST_FILE = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where everything happens: the program of the sink, its certificate, and a folder for what runs leave behind."""

    sink_program: Path
    certificate: Certificate
    folder: Path


@contextmanager
def prepared_stage(build: Path) -> Iterator[Stage]:
    """Build what all rows need, in `build`; what is only for this run goes when it ends.

    Raises:
        MissingProgramError, SinkError: the sink cannot be built.
    """
    program = build_sink(build)
    with tempfile.TemporaryDirectory(prefix="run-", dir=build) as name:
        folder = Path(name)
        yield Stage(sink_program=program, certificate=make_certificate(folder), folder=folder)


@contextmanager
def sink_for(row: Row, stage: Stage) -> Iterator[Sink | None]:
    """The server that a row asks for."""
    if row.sink is None:
        yield None
        return
    with running_sink(stage.sink_program, stage.certificate if row.sink.tls else None) as sink:
        sink.set_latency(row.sink.latency_ms)
        yield sink


def run_once(row: Row, contender: Contender, stage: Stage, sink: Sink | None) -> dict[str, float]:
    """Have a contender do the row's work once, and return its figures.

    Raises:
        RunFailedError: it failed, took too long, or the sink did not get what was to be sent.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=stage.folder)))
        order = folder / "order.json"
        _order(row, contender, folder, sink).write(order)
        used = 0.0
        if sink is not None:
            sink.reset()
            used = sink.counts().cpu_seconds
        beside: dict[str, float] = stack.enter_context(ticking_beside()) if row.stalls else {}
        process_cpu = _run_child(order, _environment(contender, folder, stage, sink), seconds=row.timeout_seconds)
        figures: dict[str, float] = json.loads((folder / FIGURES_FILE).read_text(encoding="utf-8"))
        figures["process_cpu_seconds"] = process_cpu
        if sink is not None and row.sink is not None:
            counts = sink.counts()
            complaint = counts.complaint(row.sink, share=contender.share)
            if complaint:
                raise RunFailedError(complaint)
            figures["sink_busy"] = (counts.cpu_seconds - used) / figures[Figure.WALL]
            figures["connections"] = counts.connections
    return figures | beside


def _order(row: Row, contender: Contender, folder: Path, sink: Sink | None) -> Order:
    work = folder / "work"
    work.mkdir()
    return Order(
        entry=contender.entry,
        options={**row.options, **contender.options, "share": contender.share},
        folder=str(work),
        url=sink.server.url if sink else None,
        authority=str(sink.server.authority) if sink and sink.server.authority else None,
        uvloop=contender.uvloop,
        stalls=row.stalls,
        units=row.units * contender.share,
    )


def _environment(contender: Contender, folder: Path, stage: Stage, sink: Sink | None) -> Mapping[str, str]:
    """What is set outside, but for what would lead a client elsewhere; the sink stands in for the providers."""
    kept = {name: value for name, value in os.environ.items() if name.upper() not in _ALWAYS_DROPPED}
    own = {"SHIM_HOME": str(folder / "home"), "PYTHONHASHSEED": "0"}
    if sink is not None:
        own |= {
            "KIMI_API_URL": sink.server.url,
            "KIMI_API_KEY": "benchmark",
            "KIMI_MAX_BYTES": str(_LARGEST_FILE),
            **(stage.certificate.trust() if sink.server.authority else {}),
        }
    return kept | own | dict(contender.environment)


def _run_child(order: Path, environment: Mapping[str, str], *, seconds: float) -> float:
    """Run the child to its end and return the CPU seconds of the whole process, its start included."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603  # our own module
            [sys.executable, "-m", "bench.child", order],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            in_time = _ended(process.pid, seconds)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if not in_time:
            process.kill()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if not in_time:
            raise RunFailedError(f"not done within {seconds:g} s")
        if process.returncode:
            said.seek(0)
            raise RunFailedError(_last_line(said.read().decode(errors="replace"), process.returncode))
    return usage.ru_utime + usage.ru_stime


def _ended(process: int, seconds: float) -> bool:
    """Wait for the end of a process without waking up meanwhile."""
    descriptor = os.pidfd_open(process)
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def _last_line(said: str, code: int) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else f"it ended with status {code} and said nothing"
