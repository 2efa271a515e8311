"""`shim ask`: a question about a file, asked as the monolith asks it."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import asyncio
import json as json_text
from pathlib import Path
from typing import Annotated, Any

import typer

from shim.cli.conventions import CommandError, ExitCode, JsonOption
from shim.cli.output import note, print_json, say


def ask(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file that the question is about.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question, in quotes.")],
    *,
    provider: Annotated[
        str, typer.Option(metavar="NAME", help="The provider that is asked first; auto: one after the other.")
    ] = "auto",
    model: Annotated[str | None, typer.Option(help="The model to ask; default: the provider's configured one.")] = None,
    json: JsonOption = False,
) -> int:
    """Ask a question about a file. Without the providers' keys a sandbox on this machine answers."""
    from tools.application import app
    from tools.session import session
    from tools.settings import get_settings, use_settings
    from tools.smart_file_query import SmartFileQueryTool

    arguments = {"file_path": str(file), "question": question, "provider": provider, "model": model}
    with session(app, provider):
        settings = get_settings()
        roots = (Path.cwd(), *settings.shim_allowed_roots)
        with use_settings(settings.model_copy(update={"shim_allowed_roots": roots})):
            answer: dict[str, Any] = json_text.loads(asyncio.run(SmartFileQueryTool().execute(arguments)))
    if json:
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
