"""`shim console` and `shim report`: a live page with a roll-back button, and one HTML file to keep."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import asyncio
import signal
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shim.cli.conventions import CommandError, ExitCode, JsonOption, MigrationName, parse_duration
from shim.cli.finding import application, known, settings
from shim.cli.output import finish, note, print_json, say

if TYPE_CHECKING:
    from shim.console import Console


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
