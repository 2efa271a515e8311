"""`shim ask`: a question about a file, asked as the monolith asks it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from shim.cli.errors import CommandError
from shim.cli.exits import ExitCode
from shim.cli.output import note, print_json, say
from tools.cli.session import session
from tools.settings import get_settings, use_settings
from tools.smart_file_query import SmartFileQueryTool


def run(file: Path, question: str, *, provider: str, model: str | None, as_json: bool) -> int:
    """Ask, and print the answer."""
    arguments = {"file_path": str(file), "question": question, "provider": provider, "model": model}
    with session(provider):
        settings = get_settings()
        roots = (Path.cwd(), *settings.shim_allowed_roots)
        with use_settings(settings.model_copy(update={"shim_allowed_roots": roots})):
            answer: dict[str, Any] = json.loads(asyncio.run(SmartFileQueryTool().execute(arguments)))
    if as_json:
        print_json(answer)
    elif answer["status"] == "success":
        say(answer["content"])
        note(_origin(answer["metadata"]))
    if answer["status"] == "success":
        return ExitCode.OK
    raise CommandError(f"{answer['content']} ({answer['metadata']['error_type']})")


def _origin(metadata: dict[str, Any]) -> str:
    how = "had the file already" if metadata["deduplicated"] else "took the file"
    return f"{metadata['provider']} {how} as {metadata['file_id']} and answered with {metadata['model']}"
