"""`shim mcp`: the monolith's tool for assistants, over the Model Context Protocol."""

from __future__ import annotations

from contextlib import suppress

from shim.cli.errors import CommandError
from shim.cli.exits import ExitCode
from shim.cli.output import note, say
from shim.cli.standing import report
from tools.cli.session import session
from tools.settings import get_settings


def run(*, http: bool, port: int) -> int:
    """Serve until the client closes standard input, or with `http` until Ctrl-C.

    Raises:
        CommandError: the extra `mcp` is not installed, or the port cannot be used.
    """
    try:
        from shim.mcp import (  # noqa: PLC0415  # optional
            build_server,  # optional
            serve_http,
            serve_stdio,
        )
    except ImportError as missing:
        raise CommandError(
            f"{missing.name} is not installed; `pip install 'migration-shim[mcp]'` adds what `shim mcp` needs",
            ExitCode.CONFIGURATION,
        ) from missing
    with session("auto") as opened:
        installed = opened.installation
        server = build_server(get_settings(), lambda: report(installed.router, installed.ledger).as_data())
        with suppress(KeyboardInterrupt):  # the orderly end
            if http:
                try:
                    serve_http(server, port=port, on_ready=_say_ready)
                except OSError as error:
                    raise CommandError(f"port {port} cannot be used: {error.strerror or error}") from error
            else:
                serve_stdio(server)
    return ExitCode.OK


def _say_ready(url: str) -> None:
    say(url)
    note("serving on this machine only; Ctrl-C ends it")
