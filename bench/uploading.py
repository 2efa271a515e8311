"""Rows in which files are uploaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.files import MB, Files
from bench.harness import Contender, Goal, Row, SinkWish


def upload_row(
    files: Files,
    *,
    name: str,
    title: str,
    contenders: Sequence[Contender],
    reference: str,
    rounds: int,
    goals: Sequence[Goal] = (),
    unit: str = "MB",
    times: int = 1,
    tls: bool = False,
    latency_ms: int = 0,
    stalls: bool = False,
) -> Row:
    """A row that sends `files`, all of them `times` over; its unit is "MB" or "files".

    The files go one at a time, unless a contender is `at_once`.
    """
    count = files.count * times
    size = count * files.size
    return Row(
        name=name,
        title=title,
        unit=unit,
        units=size / MB if unit == "MB" else count,
        contenders=tuple(contenders),
        reference=reference,
        goals=tuple(goals),
        rounds=rounds,
        options={"files": [str(path) for path in files.paths] * times, "tiny": str(files.tiny), "at_once": 1},
        prepare=files.make,
        sink=SinkWish(tls=tls, latency_ms=latency_ms, files=count, file_bytes=size),
        stalls=stalls,
    )


def at_once(contender: Contender, number: int) -> Contender:
    """The contender with so many uploads in flight; the engine has to be allowed that many."""
    return replace(
        contender,
        options={**contender.options, "at_once": number},
        environment={**contender.environment, "UPLOAD_CONCURRENCY": str(number)},
    )
