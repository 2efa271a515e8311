"""Many small files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench import cast
from bench.files import Files
from bench.harness import Contender, Figure, Goal, Row, Scale
from bench.uploading import at_once, upload_row

_SIZE = 20_000
_LATENCY_MS = 50
_THREADS = 32

_LEGACY_SHARE = 0.1
"""Legacy opens a connection for each file, which is so slow that a tenth of them has to tell its rate."""

_AT_LEAST = {1: 3.3, 8: 5.5, 100: 7.0}
"""What is to be reached, by how many are in flight."""


def rows(scale: Scale) -> Sequence[Row]:
    """100 files against a slow server, and 1000 files against a quick one."""
    return [_latency(scale), *(_throughput(scale, number) for number in _AT_LEAST)]


def _latency(scale: Scale) -> Row:
    return upload_row(
        Files(folder=scale.files, size=_SIZE, count=100),
        name="latency",
        title=f"100 files of 20 KB, each answered after {_LATENCY_MS} ms",
        unit="files",
        contenders=_against_latency(scale),
        reference=cast.LEGACY,
        rounds=scale.rounds(5),
        goals=(
            Goal(contender=cast.ENGINE, figure=Figure.RATE, to=(cast.LEGACY,), at_least=45.0),
            Goal(contender=cast.ENGINE, figure=Figure.RATE, to=(cast.LEGACY_THREADS,), at_least=4.0),
        ),
        latency_ms=_LATENCY_MS,
    )


def _against_latency(scale: Scale) -> list[Contender]:
    threads = replace(at_once(cast.legacy, _THREADS), name=cast.LEGACY_THREADS)
    essential = [at_once(cast.engine, 100), cast.legacy, threads]
    if scale.quick:
        return essential
    crowds = (cast.engine_uvloop, cast.gateway, cast.openai_async, cast.httpx_async, cast.aiohttp)
    openai_threads = replace(at_once(cast.openai, _THREADS), name=f"{cast.OPENAI}, {_THREADS} threads")
    return [*essential, cast.openai, openai_threads, *(at_once(contender, 100) for contender in crowds)]


def _throughput(scale: Scale, number: int) -> Row:
    """One client for all files, as the fastest users of the vendor's SDK have it, is the peer; legacy is slower."""
    others = [cast.OPENAI] if scale.quick else [cast.OPENAI, cast.LEGACY]
    return upload_row(
        Files(folder=scale.files, size=_SIZE, count=1000),
        name=f"small-{number}",
        title=f"1000 files of 20 KB, {'one' if number == 1 else number} at a time",
        unit="files",
        contenders=[at_once(contender, number) for contender in _in_quick_succession(scale, number)],
        reference=cast.OPENAI,
        rounds=scale.rounds(5),
        goals=[
            Goal(contender=cast.ENGINE, figure=Figure.RATE, to=(other,), at_least=_AT_LEAST[number]) for other in others
        ],
    )


def _in_quick_succession(scale: Scale, number: int) -> list[Contender]:
    essential = [cast.engine, cast.openai]
    if scale.quick:
        return essential
    one_by_one = [cast.raw, cast.curl, cast.httpx, cast.requests] if number == 1 else []
    others = [cast.engine_uvloop, cast.gateway, cast.openai_async, cast.httpx_async, cast.aiohttp]
    return [*essential, replace(cast.legacy, share=_LEGACY_SHARE), *others, *one_by_one]
