"""`shim sandbox`: the stand-ins in the foreground."""

from __future__ import annotations

import asyncio
import shlex
import signal
from pathlib import Path

from shim.cli.errors import CommandError
from shim.cli.exits import ExitCode
from shim.cli.output import note, print_json, say
from tools.cli.session import sandbox_home, sandbox_lock
from tools.providers.spec import PROVIDERS, provider
from tools.sandbox import SandboxServer
from tools.settings import get_settings

_KEY = "sandbox-key"


def run(*, port: int, home: Path | None, as_json: bool) -> int:
    """Serve until interrupted, which is the orderly end."""
    folder = home or sandbox_home(get_settings())
    with sandbox_lock(folder):
        asyncio.run(_serve(folder, port, as_json=as_json))
    return ExitCode.OK


async def _serve(home: Path, port: int, *, as_json: bool) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        server = SandboxServer(home, port=port)
        await server.start()
    except OSError as error:
        raise CommandError(f"the sandbox cannot listen on port {port}: {error.strerror}", ExitCode.SANDBOX) from error
    try:
        _announce(server, home, as_json=as_json)
        await stop.wait()
    finally:
        await server.stop()


def _announce(server: SandboxServer, home: Path, *, as_json: bool) -> None:
    environment: dict[str, str] = {}
    for name, url in server.urls.items():
        environment |= {provider(name).address_setting.upper(): url, provider(name).key_variable: _KEY}
    environment |= {"SUPABASE_URL": server.supabase_url, "SUPABASE_SERVICE_ROLE_KEY": _KEY}
    if as_json:
        print_json({"environment": environment, "control_url": server.control_url, "home": str(home)})
        return
    names = ", ".join(each.label for each in PROVIDERS.values())
    say(f"# {names} and Supabase on this machine; any key is accepted. To use them:")
    for name, value in environment.items():
        say(f"export {name}={shlex.quote(value)}")
    note(f"its state is in {home}, its switches for faults are below {server.control_url}; Ctrl-C ends it")
