"""A small web application of the monolith, as gunicorn loads it: POST /PROVIDER/NAME uploads the body."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tools.application import app
from tools.providers.glm import glm_files
from tools.providers.kimi import kimi_files
from tools.storage import get_storage

_STATUS = {True: "200 OK", False: "500 Internal Server Error"}


def upload(provider: str, path: Path) -> dict[str, Any]:
    """Upload as the monolith's callers do."""
    storage = get_storage()
    if provider == "kimi":
        return kimi_files.upload_via_supabase_gateway_kimi(str(path), storage)
    return glm_files.upload_via_supabase_gateway_glm(str(path), storage)


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """The WSGI application."""
    _, provider, name = environ["PATH_INFO"].split("/")
    path = Path(name)
    path.write_bytes(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    try:
        said, done = upload(provider, path), True
    except Exception as error:  # noqa: BLE001  # the test shows it
        said, done = {"error": f"{type(error).__name__}: {error}"}, False
    start_response(_STATUS[done], [("Content-Type", "application/json")])
    return [json.dumps({**said, "process": os.getpid()}).encode()]


app.start()
if "UPLOADS_BEFORE_FORK" in os.environ:  # a smoke test of the host's
    Path("before.bin").write_bytes(b"before" * 100_000)
    upload("kimi", Path("before.bin"))
