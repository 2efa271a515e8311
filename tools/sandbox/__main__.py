"""`python -m tools.sandbox`: the sandbox in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
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
    limits = Limits(
        kimi_max_files=options.max_files, kimi_max_bytes=options.kimi_max_bytes, glm_max_bytes=options.glm_max_bytes
    )
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.until_stdin_closes:
        loop.add_reader(sys.stdin.fileno(), _stop_at_end, stop)
    async with SandboxServer(options.home, port=options.port, keys=options.key, limits=limits) as server:
        urls = {
            "kimi_url": server.kimi_url,
            "glm_url": server.glm_url,
            "supabase_url": server.supabase_url,
            "control_url": server.control_url,
        }
        sys.stdout.write(json.dumps(urls) + "\n")
        sys.stdout.flush()
        await stop.wait()


def _stop_at_end(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        stop.set()


def _options() -> argparse.Namespace:
    defaults = Limits()
    parser = argparse.ArgumentParser(
        prog="python -m tools.sandbox", description="Loopback stand-ins of Kimi, GLM and Supabase."
    )
    parser.add_argument("--home", type=Path, required=True, help="folder of the state")
    parser.add_argument("--port", type=int, default=0, help="port on loopback; 0 takes a free one")
    parser.add_argument("--key", action="append", help="accept this key only; can be repeated; default: any")
    parser.add_argument("--max-files", type=int, default=defaults.kimi_max_files, help="files a Kimi account keeps")
    parser.add_argument("--kimi-max-bytes", type=int, default=defaults.kimi_max_bytes, help="largest file for Kimi")
    parser.add_argument("--glm-max-bytes", type=int, default=defaults.glm_max_bytes, help="largest file for GLM")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when standard input ends")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
