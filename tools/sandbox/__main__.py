"""`python -m tools.sandbox`: the sandbox in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from tools.sandbox.faults import Limits
from tools.sandbox.server import SandboxServer


def main() -> int:
    """Run until interrupted; 0 after an orderly end, 1 when it cannot start."""
    options = _options()
    try:
        asyncio.run(_serve(options))
    except OSError as problem:
        sys.stderr.write(f"the sandbox cannot start: {problem}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


async def _serve(options: argparse.Namespace) -> None:
    limits = Limits().changed({name: value for name, value in vars(options).items() if name in Limits().to_json()})
    server = SandboxServer(options.home, port=options.port, keys=options.key, limits=limits)
    stop = asyncio.Event()
    if options.until_stdin_closes:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _stop_at_end, stop)
    await server.run(ready=lambda: _announce(server), stop=stop)


def _announce(server: SandboxServer) -> None:
    urls = {"urls": server.urls, "supabase_url": server.supabase_url, "control_url": server.control_url}
    sys.stdout.write(json.dumps(urls) + "\n")
    sys.stdout.flush()


def _stop_at_end(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        stop.set()


def _options() -> argparse.Namespace:
    defaults = Limits().to_json()
    parser = argparse.ArgumentParser(
        prog="python -m tools.sandbox", description="Loopback stand-ins of the providers and of Supabase."
    )
    parser.add_argument("--home", type=Path, required=True, help="folder of the state")
    parser.add_argument("--port", type=int, default=0, help="port on loopback; 0 takes a free one")
    parser.add_argument("--key", action="append", help="accept this key only; can be repeated; default: any")
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, help="see tools.sandbox.Limits")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when standard input ends")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
