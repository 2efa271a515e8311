"""How the cost of uploads grows: with the size of the file, and with how many are in flight."""

from __future__ import annotations

from collections.abc import Sequence

from bench import cast
from bench.files import MB, Content, Files
from bench.harness import Contender, Curve, Figure, Growth, Row, Scale
from bench.uploading import at_once, upload_row

_SIZES_MB = (1, 4, 16, 64, 256, 1000, 4000)
_QUICK_SIZES_MB = (1, 64)
_CROWDS = (1, 10, 50, 100, 250, 500, 1000)
_QUICK_CROWDS = (1, 100)
_LEAST_MB_A_RUN = 200
_MOST_LEGACY_MB = 1000
"""Legacy holds the whole file in memory."""

_SECONDS = Curve(figure=Figure.WALL, label="seconds a GB", per_unit=True)
_CPU = Curve(figure=Figure.COST, label="CPU seconds a GB")
_MEMORY = Curve(figure=Figure.MEMORY, label="memory in MiB")
_MEMORY_EACH = Curve(figure=Figure.MEMORY, label="memory an upload in MiB", per_point=True)
_STALLS = Curve(figure=Figure.STALL_P99, label="the loop's stalls (99th percentile) in ms")


def growths(scale: Scale) -> Sequence[Growth]:
    """Both, over TLS: that is what providers speak."""
    sizes = _QUICK_SIZES_MB if scale.quick else _SIZES_MB
    crowds = _QUICK_CROWDS if scale.quick else _CROWDS
    return [
        Growth(
            name="growth-size",
            title="A larger file",
            x_label="size in MB",
            points=tuple((megabytes, _size(scale, megabytes)) for megabytes in sizes),
            curves=(_SECONDS, _CPU, _MEMORY),
        ),
        Growth(
            name="growth-crowd",
            title="More uploads at once",
            x_label="uploads at once",
            points=tuple((crowd, _crowd(scale, crowd, count=max(crowds))) for crowd in crowds),
            curves=(_SECONDS, _CPU, _MEMORY_EACH, _STALLS),
        ),
    ]


def _size(scale: Scale, megabytes: int) -> Row:
    legacy = [cast.legacy] if megabytes <= _MOST_LEGACY_MB else []
    return upload_row(
        Files(folder=scale.files, size=megabytes * MB, content=Content.HOLE),
        name=f"growth-size-{megabytes}",
        title=f"One file of {megabytes} MB, over TLS",
        times=max(_LEAST_MB_A_RUN // megabytes, 1),
        contenders=[*_own(scale), *legacy],
        reference=cast.ENGINE,
        rounds=scale.rounds(3),
        tls=True,
    )


def _crowd(scale: Scale, crowd: int, *, count: int) -> Row:
    return upload_row(
        Files(folder=scale.files, size=MB, count=count, content=Content.SHARED),
        name=f"growth-crowd-{crowd}",
        title=f"{count} files of 1 MB, {crowd} at once, over TLS",
        contenders=[at_once(contender, crowd) for contender in _own(scale)],
        reference=cast.ENGINE,
        rounds=scale.rounds(3),
        tls=True,
        stalls=True,
    )


def _own(scale: Scale) -> tuple[Contender, ...]:
    return (cast.engine,) if scale.quick else (cast.engine, cast.engine_uvloop)
