"""`shim console`: the page in the foreground."""

from __future__ import annotations

import asyncio
import signal
from contextlib import closing

from shim.cli.exits import ExitCode
from shim.cli.finding import application
from shim.cli.output import note, print_json, say
from shim.console import Access, Console, ConsoleSources, new_token


def run(*, host: str, port: int, as_json: bool) -> int:
    """Serve until interrupted, which is the orderly end.

    Raises:
        ConsoleError: it cannot listen there.
        ConfigurationError: a variable has a wrong value.
    """
    app = application()
    settings = app.settings()
    given = settings.shim_console_token
    token = new_token() if given is None else given.get_secret_value()
    with closing(ConsoleSources.of(app, settings)) as sources:
        console = Console(sources, Access(host=host, token=token), port=port)
        asyncio.run(_serve(console, shown=token if given is None else None, as_json=as_json))
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
