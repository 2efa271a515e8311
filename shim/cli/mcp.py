"""`shim mcp`: the operators' tools, and those of the application, for assistants."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shim.cli.conventions import CommandError, ExitCode
from shim.cli.finding import application
from shim.cli.output import note, say
from shim.cli.status import report

if TYPE_CHECKING:
    from flags import UnleashRouter
    from migration.store import Ledger
    from shim.settings import ShimSettings

LATEST_DECISIONS = 20
"""Decisions that are listed for an assistant that names none."""


def mcp(
    *,
    http: Annotated[
        bool, typer.Option("--http", help="Over HTTP on the loopback, until Ctrl-C; prints its address.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port for --http; without it, and with 0, a free one.")
    ] = None,
) -> int:
    """Serve assistants by the Model Context Protocol. Over standard input and output, or --http."""
    from shim.settings import use_settings

    if port is not None and not http:
        raise CommandError("--port is for --http; without --http standard input and output are used", ExitCode.USAGE)
    try:
        from shim.mcp import build_server, serve_http, serve_stdio

        app = application()
        hooks = [extension.assistants for extension in app.extensions if extension.assistants is not None]
        extra = [served for hook in hooks for served in hook()]
    except ImportError as missing:
        raise CommandError(
            f"{missing.name} is not installed; `pip install 'migration-shim[mcp]'` adds what `shim mcp` needs",
            ExitCode.CONFIGURATION,
        ) from missing
    with ExitStack() as serving:
        running = [each for each in (serving.enter_context(served.serving()) for served in extra) if each is not None]
        machine = running[0].settings if running else app.settings()
        router, ledger = (running[0].router, running[0].ledger) if running else _opened(serving, machine)

        def status() -> Mapping[str, Any]:
            with use_settings(machine):
                return report(router, ledger).as_data()

        server = build_server(
            app.settings(), status=status, explain=lambda number: explained(machine, number), extra=extra
        )
        serving.enter_context(suppress(KeyboardInterrupt))  # the orderly end
        if http:
            try:
                serve_http(server, port=port or 0, on_ready=_say_ready)
            except OSError as error:
                raise CommandError(f"port {port} cannot be used: {error.strerror or error}") from error
        else:
            serve_stdio(server)
    return ExitCode.OK


def _opened(serving: ExitStack, settings: ShimSettings) -> tuple[UnleashRouter, Ledger]:
    from shim.wiring import open_ledger, open_router

    router = open_router(settings)
    serving.callback(router.close)
    return router, open_ledger(settings)


def explained(settings: ShimSettings, number: int | None) -> Mapping[str, Any] | None:
    """A decision in full, or the latest in a line each; None if there is no such decision."""
    from shim.console.figures import decision_in_full, decision_row
    from shim.wiring import open_guard_store

    store = open_guard_store(settings)
    if number is None:
        return {"decisions": [decision_row(record) for record in store.records(limit=LATEST_DECISIONS)]}
    record = store.record(number)
    return None if record is None else decision_in_full(record)


def _say_ready(url: str) -> None:
    say(url)
    note("serving on this machine only; Ctrl-C ends it")
