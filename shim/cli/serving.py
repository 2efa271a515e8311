"""`shim console`, `shim report` and `shim mcp`: what is served, or written to a file, for people and assistants."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shim.cli.conventions import CommandError, ExitCode, JsonOption, MigrationName, parse_duration
from shim.cli.finding import application, known, settings
from shim.cli.output import finish, note, print_json, say
from shim.cli.status import report as status_report

if TYPE_CHECKING:
    from flags import UnleashRouter
    from migration.store import Ledger
    from shim.console import Console
    from shim.settings import ShimSettings


def console(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8642,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Other than the loopback, reading takes the token, too.")
    ] = "127.0.0.1",
    json: JsonOption = False,
) -> int:
    """Serve a page that shows it live, with a roll-back button. Until Ctrl-C; prints its address."""
    from shim.console import Access, Console, ConsoleSources, new_token

    app = application()
    settings = app.settings()
    given = settings.shim_console_token
    token = new_token() if given is None else given.get_secret_value()
    with closing(ConsoleSources.of(app, settings)) as sources:
        page = Console(sources, Access(host=host, token=token), port=port)
        asyncio.run(_serve(page, shown=token if given is None else None, as_json=json))
    return ExitCode.OK


async def _serve(console: Console, *, shown: str | None, as_json: bool) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await console.start()
    try:
        url = console.url if shown is None else f"{console.url}#token={shown}"
        if as_json:
            print_json({"url": url})
        else:
            say(url)
            note(
                "this address lets roll back; Ctrl-C ends the page, and no migration"
                if shown
                else "the page asks for the token in SHIM_CONSOLE_TOKEN; Ctrl-C ends the page, and no migration"
            )
        await stop.wait()
    finally:
        await console.stop()


# `shim report`: everything about a migration in one HTML file.


def report(
    name: MigrationName,
    *,
    since: Annotated[str, typer.Option(metavar="TIME", help="Look back so far: 90s, 15m, 2h, 3d, ...")] = "30d",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: NAME-report.html, here.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Write one HTML file about a migration. It needs nothing else, and can be attached to a change review."""
    from shim.report import gather, page

    found = gather(settings(), known(name), seconds=parse_duration(since))
    path = output or Path(f"{name}-report.html")
    try:
        written = path.write_text(page(found), encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}; choose another place with --output") from error
    document = {"migration": name, "file": str(path), "characters": written}
    return finish(document, f"{path} ({written / 1_000_000:.1f} MB, needs nothing else)", as_json=json)


# `shim mcp`: the operators' tools, and those of the application, for assistants.

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
        extra = [served for extension in app.extensions for served in extension.assistants()]
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
                return status_report(router, ledger).as_data()

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
