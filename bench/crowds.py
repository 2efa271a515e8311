"""Many uploads at once: what they hold in memory, and how long they stop the caller's event loop."""

from __future__ import annotations

from collections.abc import Sequence

from bench import cast
from bench.files import MB, Content, Files
from bench.harness import Contender, Figure, Goal, Row, Scale
from bench.uploading import at_once, upload_row

_CROWD = 100


def rows(scale: Scale) -> Sequence[Row]:
    """100 uploads at once: of 50 MB for memory, of 5 MB for stalls, where no contender may hold 100 whole files."""
    return [_memory(scale), *(_stalls(scale, tls=tls) for tls in (True, False))]


def _memory(scale: Scale) -> Row:
    return upload_row(
        Files(folder=scale.files, size=50 * MB, count=_CROWD, content=Content.SHARED),
        name="crowd-memory",
        title=f"{_CROWD} files of 50 MB at once, over TLS",
        contenders=_all_at_once([cast.engine] if scale.quick else [cast.engine, cast.engine_uvloop, cast.legacy]),
        reference=cast.ENGINE,
        rounds=scale.rounds(3),
        goals=(Goal(contender=cast.ENGINE, figure=Figure.MEMORY, at_most=150.0),),
        tls=True,
    )


def _stalls(scale: Scale, *, tls: bool) -> Row:
    """The loop is the one on which the caller awaits: behind the shim the uploads run on another.

    Each file has a content of its own, for what keeps a journal sends a content once.
    """
    essential = [cast.engine, cast.shim]
    others = [cast.engine_uvloop, cast.gateway, cast.openai_async, cast.httpx_async, cast.aiohttp]
    return upload_row(
        Files(folder=scale.files, size=5 * MB, count=_CROWD),
        name=f"crowd-stalls-{'tls' if tls else 'plain'}",
        title=f"{_CROWD} files of 5 MB at once, {'over TLS' if tls else 'over plain HTTP'}",
        contenders=_all_at_once(essential if scale.quick else [*essential, *others]),
        reference=cast.ENGINE,
        rounds=scale.rounds(5),
        goals=tuple(
            Goal(contender=name, figure=figure, at_most=at_most)
            for name in (cast.SHIM, cast.ENGINE)
            for figure, at_most in ((Figure.STALL_P99, 3.0), (Figure.STALL_MAX, 25.0))
        ),
        tls=tls,
        stalls=True,
    )


def _all_at_once(contenders: Sequence[Contender]) -> list[Contender]:
    return [at_once(contender, _CROWD) for contender in contenders]
