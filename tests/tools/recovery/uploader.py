"""A program that has imported everything, and makes a child for each upload, to be killed after a given time.

Reads one JSON document a line: `side`, `provider`, `path`, `seconds`; only `seconds` for a recovery. Writes one a line:
`answer`, the provider's id of the file if the child's caller had it when the child was killed, `ended`, whether the
child had ended by then, and `lived`, for how many seconds it lived.
"""

# ruff: noqa: T201  # it talks to the test through its standard output

from __future__ import annotations

import asyncio
import gc
import json
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

from tests.tools.protected import protected
from tools.async_file_upload_refactored import (
    upload_via_supabase_gateway_glm_async,
    upload_via_supabase_gateway_kimi_async,
)
from tools.recovery import recover
from tools.settings import get_settings
from tools.storage import get_storage

LEGACY = {"kimi": protected("kimi"), "glm": protected("glm")}
NEW = {"kimi": upload_via_supabase_gateway_kimi_async, "glm": upload_via_supabase_gateway_glm_async}


def main() -> None:
    """Serve until standard input ends."""
    gc.freeze()  # the children share what is there
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(_lived_for(json.loads(line))), flush=True)


def _lived_for(order: Mapping[str, Any]) -> dict[str, object]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(order, writing)
    os.close(writing)
    began = time.monotonic()
    ending = os.pidfd_open(child)
    select.select([ending], [], [], order["seconds"])
    os.kill(child, signal.SIGKILL)  # it is not waited for yet, so this is no other process by now
    lived = time.monotonic() - began
    _, status = os.waitpid(child, 0)
    answer = os.read(reading, 1000).decode()
    os.close(ending)
    os.close(reading)
    return {"answer": answer or None, "ended": not os.WIFSIGNALED(status), "lived": lived}


def _work(order: Mapping[str, Any], writing: int) -> None:
    code = 1
    try:
        if "path" in order:
            os.write(writing, _uploaded(order).encode())
        else:
            asyncio.run(recover(get_settings()))
        code = 0
    finally:
        os._exit(code)


def _uploaded(order: Mapping[str, Any]) -> str:
    provider = order["provider"]
    if order["side"] == "legacy":
        result = LEGACY[provider](order["path"], get_storage())
    else:
        result = asyncio.run(NEW[provider](order["path"], get_storage()))
    return str(result[f"{provider}_file_id"])


if __name__ == "__main__":
    main()
