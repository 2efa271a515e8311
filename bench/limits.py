"""Why goals are not reached: what stands in the way, with figures of the same run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import cast
from bench.harness import Figure
from bench.metering import IDLE
from bench.phrases import number
from bench.results import Results, RowResult


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limit:
    """What stands in the way of some rows.

    Attributes:
        concerns: whether it is about a row.
        words: what it is.
        figures: what a row's figures show of it; empty if nothing.
    """

    concerns: Callable[[RowResult], bool]
    words: str
    figures: Callable[[RowResult], str] = lambda _row: ""


def limits_text(results: Results) -> str:
    """A paragraph for each thing that stands in the way of a goal, as Markdown; empty if all were reached."""
    missed = [row for row in results.rows if any(goal.reached is False for goal in row.goals)]
    concerned = [(limit, [row for row in missed if limit.concerns(row)]) for limit in _LIMITS]
    paragraphs = [_paragraph(limit, rows) for limit, rows in concerned if rows]
    return "\n## What stands in the way\n\n" + "".join(paragraphs) if paragraphs else ""


def _paragraph(limit: _Limit, rows: Sequence[RowResult]) -> str:
    figures = "".join(f" {row.title}: {shown}." for row in rows if (shown := limit.figures(row)))
    return f"- {limit.words}{figures}\n"


def _socket(row: RowResult) -> str:
    socket, engine = _cpu_ratio(row, cast.RAW, cast.CURL), _cpu_ratio(row, cast.ENGINE, cast.RAW)
    return f"{socket} times curl's CPU time for the socket, and the engine {engine} times that of the socket"


def _idle(row: RowResult) -> str:
    p99 = f"{IDLE}{Figure.STALL_P99}"
    late = [contender.spreads[p99].median for contender in row.contenders if p99 in contender.spreads]
    return f"{number(max(late))} ms at the 99th percentile" if late else ""


def _plain(row: RowResult) -> str:
    return f"{_cpu_ratio(row, cast.ENGINE, cast.aiohttp.name)} times the CPU time of plain aiohttp"


def _cpu_ratio(row: RowResult, one: str, other: str) -> str:
    found = [row.find(name) for name in (one, other)]
    figures = [contender.spreads[Figure.COST].median for contender in found if contender and contender.failure is None]
    return number(figures[0] / figures[1]) if len(figures) == len(found) else "an unknown number of"


_LIMITS = (
    _Limit(
        concerns=lambda row: row.name.startswith("large-") and row.name.endswith("-tls"),
        words="**Encryption.** A bare socket of Python, which only reads into the same page, encrypts and sends, is "
        "hardly cheaper than curl: both encrypt with the same OpenSSL. Taken apart (one thread, 1 GB, pieces as the "
        "engine has them), encrypting costs 0.35 to 0.5 CPU seconds, the kernel's sending 0.25 to 0.4 and reading "
        "0.06.",
        figures=_socket,
    ),
    _Limit(
        concerns=lambda row: row.name.startswith("crowd-stalls"),
        words="**Two cores.** The server, the reading threads and the loop share them, so a process that does nothing "
        "but tick beside these runs is late itself. Of 100 turns of the engine's loop 97 take less than 2 ms of CPU "
        "time over TLS and 1 ms over plain HTTP; the longest hold a collection of garbage, 2 to 3 ms. The rest is "
        "waiting for a core, or for the interpreter's lock, for which a thread waits up to 5 ms. When the lock changes "
        "hands and when garbage is collected (`sys.setswitchinterval()`, `gc.set_threshold()`) is the monolith's to "
        "set. The idle process:",
        figures=_idle,
    ),
    _Limit(
        concerns=lambda row: row.name.startswith("small-"),
        words="**A quicker peer.** The goal was set with an `openai` client that a pool of threads calls. *openai* "
        "here is kept open and called from its own thread, where *legacy* makes a client for each call. What is left "
        "of the engine is aiohttp's own work for a request.",
        figures=_plain,
    ),
    _Limit(
        concerns=lambda row: row.name.startswith("routed-call"),
        words="**Equals.** Both ask two flags and make the same spans. What they do besides is of one size, and which "
        "of them comes first changes from run to run.",
    ),
    _Limit(
        concerns=lambda row: row.name == "shadow",
        words="**One interpreter.** A comparison runs in the same process on two cores, so an upload that meets one is "
        "slower. At most 5 of 1,000 uploads meet one (`SHADOW_MEETS`); the rest is the noting of what was sent and "
        "answered.",
    ),
)
