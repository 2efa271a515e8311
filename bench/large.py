"""One large file."""

from __future__ import annotations

from collections.abc import Sequence

from bench import cast
from bench.files import MB, Files
from bench.harness import Contender, Figure, Goal, Row, Scale
from bench.uploading import upload_row

_SIZES = {"50mb": 50 * MB, "1gb": 1000 * MB}

_TIMES = {"50mb": 8, "1gb": 1}
"""How often the file is sent in one run, one after the other: a short transfer alone would be lost in the noise."""

_ROUNDS = {"50mb": 9, "1gb": 5}

_ESSENTIAL = (cast.engine, cast.engine_uvloop, cast.legacy, cast.curl, cast.curl_each, cast.raw)

_NOT_FOR_LARGE = (cast.requests, cast.openai_async, cast.zai, cast.niquests)
"""They hold a file of 1 GB two to nine times over."""

_MEMORY_MIB = 4.0


def rows(scale: Scale) -> Sequence[Row]:
    """50 MB and 1 GB, plain and over TLS."""
    sizes = ["50mb"] if scale.quick else list(_SIZES)
    return [_row(scale, size, tls=tls) for size in sizes for tls in (True, False)]


def _row(scale: Scale, size: str, *, tls: bool) -> Row:
    return upload_row(
        Files(folder=scale.files, size=_SIZES[size]),
        name=f"large-{size}-{'tls' if tls else 'plain'}",
        title=f"One file of {_SIZES[size] // MB} MB, {'over TLS' if tls else 'over plain HTTP'}",
        times=_TIMES[size],
        contenders=_contenders(scale, size, tls=tls),
        reference=cast.LEGACY,
        goals=(*(_TLS_GOALS if tls else _PLAIN_GOALS), _MEMORY_GOAL),
        rounds=scale.rounds(_ROUNDS[size], quick=2),
        tls=tls,
    )


def _contenders(scale: Scale, size: str, *, tls: bool) -> tuple[Contender, ...]:
    if scale.quick:
        return _ESSENTIAL
    limit = () if tls else (cast.raw_copying,)
    peers = [peer for peer in cast.PEERS if size == "50mb" or peer not in _NOT_FOR_LARGE]
    return (*_ESSENTIAL, *limit, cast.gateway, cast.legacy_gateway, *peers)


_TLS_GOALS = (
    Goal(contender=cast.ENGINE, figure=Figure.RATE, to=(cast.CURL,), at_least=1.5),
    Goal(contender=cast.ENGINE, figure=Figure.RATE, to=(cast.CURL_EACH,), at_least=1.5),
    Goal(contender=cast.ENGINE, figure=Figure.COST, to=(cast.CURL,), at_most=0.65),
    Goal(contender=cast.ENGINE, figure=Figure.COST, to=(cast.CURL_EACH,), at_most=0.65),
    Goal(contender=cast.ENGINE, figure=Figure.COST, to=(cast.LEGACY,), at_most=0.6),
)

_PLAIN_GOALS = (
    Goal(contender=cast.ENGINE, figure=Figure.RATE, to=(cast.CURL,), at_least=2.0),
    Goal(contender=cast.ENGINE_UVLOOP, figure=Figure.RATE, to=(cast.CURL,), at_least=1.0),
    Goal(contender=cast.ENGINE, figure=Figure.COST, to=(cast.LEGACY,), at_most=0.55),
    Goal(contender=cast.ENGINE_UVLOOP, figure=Figure.COST, to=(cast.LEGACY,), at_most=0.55),
)
"""uvloop has no `sendfile`, so on it the engine copies."""

_MEMORY_GOAL = Goal(contender=cast.ENGINE, figure=Figure.MEMORY, at_most=_MEMORY_MIB)
