"""The monolith as an application of the shim: its migrations, and what only uploads have beside them.

Each function imports what it needs when it is called, so that a command that only looks on begins at once.
"""

# ruff: noqa: PLC0415  # as the docstring says

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from migration import Runtime
from migration.model import Operation
from shim import Application, Extension, Section
from tools.gauges import PROVIDER, THROTTLE, throttle_values

if TYPE_CHECKING:
    from observability import Gauge
    from shim.application import ConsoleSection
    from shim.drill import Workloads
    from shim.mcp import AssistantTools
    from shim.removal.readiness import Check
    from tools.journal.port import JournalStatus
    from tools.settings import Settings

_JOURNAL_SECONDS = 2.0
"""How long the end waits until what came of the last uploads is written down."""


def _settings() -> Settings:
    from tools.settings import get_settings

    return get_settings()


def check_state() -> None:
    """Look whether the journal of uploads is of a version that this program knows.

    One that is damaged holds up no upload, see `sections`.

    Raises:
        StoreRefusedError: a newer program wrote it, or what an earlier one wrote cannot be taken over yet.
    """
    from migration.model import StoreError, StoreRefusedError
    from tools.storage.local import uploads_db

    try:
        with uploads_db(_settings().uploads_db).reading():
            return
    except StoreRefusedError:
        raise
    except StoreError:
        return


def import_what_works_later() -> None:
    """Import what finishes earlier work in another thread, the client of Supabase's storage and journal included."""
    import tools.recovery
    import tools.shadowing

    if _settings().supabase_url is not None:
        import tools.journal.supabase
        import tools.storage.supabase  # noqa: F401


def finish_earlier_work(runtime: Runtime) -> None:
    """In the background, undo the live shadows and recover the uploads that earlier processes left open."""
    from tools.recovery import recover_in_background
    from tools.shadowing import clean_in_background

    settings = _settings()
    if _has_open_cleanups(settings):
        runtime.shadows.loop.submit(lambda: clean_in_background(settings))
    if settings.uploads_db.exists() or settings.supabase_url is not None:
        runtime.shadows.loop.submit(lambda: recover_in_background(settings))


def _has_open_cleanups(settings: Settings) -> bool:
    """Whether earlier processes left something of live shadows. A file that cannot be read is the guard's to name."""
    from migration.model import StoreError
    from tools.shadowing.undoing import journal_of

    try:
        return bool(journal_of(settings).left())
    except StoreError:
        return False


def close_journal() -> None:
    """Write down what came of the last uploads, and stop."""
    from tools.journal import get_journal

    journal = get_journal(_settings())
    journal.flush(_JOURNAL_SECONDS)
    journal.stop()


async def close_pool() -> None:
    """Close the connection pool of the loop that ends, if the new implementation was ever used there."""
    pool = sys.modules.get("tools.transport.connections")
    if pool is not None:
        await pool.cleanup_http_session()


def gauges() -> Sequence[Gauge]:
    """The throttle of the new implementation, by provider."""
    from observability import Gauge

    return [
        Gauge(name=name, unit="{request}", description=description, observe=partial(throttle_values, measure))
        for name, (description, measure) in THROTTLE.items()
    ]


def things_made(operation: Operation) -> Sequence[Mapping[str, str]]:
    """The files that an upload has made, for an audit."""
    from tools.recovery.audit import things_made as made

    return made(operation)


def sections() -> Mapping[str, Section]:
    """What the journal of uploads says of itself; its figures are None when it cannot be read, and `error` says why.

    `unjournaled` counts the uploads that went on without it, `age_seconds` is how long ago the last one did.
    """
    from migration.model import StoreRefusedError
    from tools.journal import get_journal
    from tools.journal.port import JournalError

    figures = ("backend", "under_way", "left", "unknown", "unjournaled", "age_seconds", "notice")
    try:
        check_state()
        status = get_journal(_settings()).status()
    except (JournalError, StoreRefusedError) as error:
        refused = isinstance(error, StoreRefusedError)
        follows = "legacy serves every call until it can be" if refused else "uploads go on without it"
        data: dict[str, object] = {**dict.fromkeys(figures), "error": str(error)}
        return {"journal": Section(data=data, lines=[(f"{error}; {follows}", True)])}
    last = status.last_unjournaled_at
    age = None if last is None else time.time() - last
    data = {
        "backend": status.backend,
        "under_way": status.in_flight,
        "left": status.left,
        "unknown": status.unknown,
        "unjournaled": status.unjournaled,
        "age_seconds": age,
        "notice": status.notice,
        "error": None,
    }
    return {"journal": Section(data=data, lines=_sentences(status, age))}


def _sentences(status: JournalStatus, age: float | None) -> list[tuple[str, bool]]:
    figures = f"{status.in_flight} in flight, {status.left} left by processes that died"
    unresolved = bool(status.left or status.unknown)
    lines = [(f"journal: {status.backend}: {figures}, {status.unknown} of unknown outcome", unresolved)]
    if unresolved:
        lines.append(("`shim reconcile` finds out what came of them", True))
    if status.unjournaled:
        when = "" if age is None else f", the last {age:.0f} s ago"
        lines.append((f"journal: {status.unjournaled} uploads went on without it{when}", True))
    if status.notice is not None:
        lines.append((f"journal: {status.notice}", True))
    return lines


def views() -> Sequence[ConsoleSection]:
    """Uploads that the journal knows to be unfinished."""
    from tools.journal_section import JOURNAL

    return [JOURNAL]


def workloads() -> Workloads:
    """A drill uploads to the sandbox."""
    from tools.drill import uploads

    return uploads


def assistants() -> Sequence[AssistantTools]:
    """Assistants ask about files."""
    from tools.mcp import file_tools

    return [file_tools(app)]


def open_work() -> Sequence[Check]:
    """What uploads have left to be done, before legacy can go."""
    from shim.removal.readiness import Check
    from tools.journal import get_journal
    from tools.shadowing.undoing import journal_of

    settings, unfinished = _settings(), None
    if settings.uploads_db.exists() or settings.supabase_url is not None:
        status = get_journal(settings).status()
        unfinished = status.left + status.unknown
    left = len(journal_of(settings).left())
    return [
        Check(
            name="journal",
            holds=not unfinished,
            figure="nothing was journaled here" if unfinished is None else f"{unfinished:,} uploads of unknown outcome",
            advice="`shim reconcile` finds out what became of them",
        ),
        Check(
            name="shadows",
            holds=left == 0,
            figure=f"live shadows left {left:,} things",
            advice="`shim shadows clean` removes them",
        ),
    ]


COMMANDS = {
    "ask": "tools.cli.ask:ask",
    "upload": "tools.cli.upload:upload",
    "demo": "tools.cli.demo:demo",
    "sandbox": "tools.cli.sandbox:sandbox",
    "bench": "tools.cli.bench:bench",
    "compare": "tools.cli.compare:compare",
    "shadows": "tools.cli.shadows:shadows_app",
    "audit": "tools.cli.audit:audit",
    "reconcile": "tools.cli.reconcile:reconcile",
    "schema": "tools.cli.schema:schema",
}
"""The commands that only uploads have."""

app = Application(
    migrations="tools.migrations:MIGRATIONS",
    settings=_settings,
    extensions=[
        Extension(
            check_state=check_state,
            prepare=import_what_works_later,
            begin=finish_earlier_work,
            end=close_journal,
            loop_closing=close_pool,
            gauges=gauges,
            labels=(PROVIDER,),
            made=things_made,
            sections=sections,
            views=views,
            open_work=open_work,
            workloads=workloads,
            assistants=assistants,
            commands=COMMANDS,
        )
    ],
)
"""What the monolith's processes start, and what the command line works for."""
