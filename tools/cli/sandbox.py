"""`shim sandbox`: the stand-ins in the foreground."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shim.cli.conventions import CommandError, ExitCode, JsonOption
from shim.cli.output import note, print_json, say

if TYPE_CHECKING:
    from tools.sandbox import SandboxServer

_KEY = "sandbox-key"


def sandbox(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on loopback; 0 takes a free one.")] = 0,
    home: Annotated[Path | None, typer.Option(help="Folder of its state; default: SHIM_HOME/sandbox.")] = None,
    json: JsonOption = False,
) -> int:
    """Play the providers and Supabase until Ctrl-C. Prints how to use them."""
    from tools.sandbox import SandboxServer
    from tools.session import sandbox_home, sandbox_lock
    from tools.settings import get_settings

    folder = home or sandbox_home(get_settings())
    server = SandboxServer(folder, port=port)
    with sandbox_lock(folder):
        try:
            asyncio.run(server.run(ready=lambda: _announce(server, folder, as_json=json)))
        except OSError as error:
            problem = f"the sandbox cannot listen on port {port}: {error.strerror}"
            raise CommandError(problem, ExitCode.SANDBOX) from error
    return ExitCode.OK


def _announce(server: SandboxServer, home: Path, *, as_json: bool) -> None:
    from tools.providers.spec import PROVIDERS, provider

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
