"""`shim console`: the page in the foreground."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import asyncio
import signal
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from shim.cli.exits import ExitCode
from shim.cli.finding import application
from shim.cli.options import JsonOption
from shim.cli.output import note, print_json, say

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
