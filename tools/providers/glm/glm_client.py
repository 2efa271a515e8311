"""What the monolith asks of GLM (Z.ai), through the vendor's SDK. Each call has its own connection."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from zai import ZaiClient
from zai.core import ZAI_DEFAULT_TIMEOUT, APITimeoutError

from tools.files import read_regular
from tools.providers.answers import (
    NoAnswerError,
    ParsingFailedError,
    ProviderAnswerError,
    ProviderTimeoutError,
    file_id_of,
    required_key,
)
from tools.settings import get_settings

if TYPE_CHECKING:
    from zai.types.chat.chat_completion import Completion

_POLL_SECONDS = 0.2


def _client(*, timeout: float | None = None) -> ZaiClient:
    """A fresh client with the SDK's own retries, and its own time-outs unless one is given. The caller closes it."""
    settings = get_settings()
    return ZaiClient(
        api_key=required_key(settings.glm_api_key, "GLM_API_KEY"),
        base_url=settings.glm_api_url,
        timeout=ZAI_DEFAULT_TIMEOUT if timeout is None else timeout,
    )


def send_file(path: Path, purpose: str) -> str:
    """Upload a file and return its id.

    Raises:
        MissingKeyError: no key is configured.
        zai.core.ZaiError: GLM refused, or could not be reached.
        NoFileIdError: GLM answered without an id: it reports an overload with status 200.
    """
    with _client() as client:
        # the SDK's list of purposes leaves out the documented one
        answer = client.files.create(file=(path.name, read_regular(path)), purpose=cast("Any", purpose))
    return file_id_of(answer.to_dict())


def extract_text(path: Path, file_id: str, *, timeout: float) -> str:
    """Have GLM's parser read the file, waiting at most `timeout` seconds, and return its text.

    The parser takes the file itself; it knows nothing of uploaded files, so `file_id` is not used.

    Raises:
        ParsingFailedError: GLM cannot parse the file.
        ProviderTimeoutError: it did not finish in time.
        ProviderAnswerError: GLM's parser did not take the file.
        zai.core.ZaiError: GLM refused, or could not be reached.
    """
    del file_id
    deadline = time.monotonic() + timeout
    with _client(timeout=timeout) as client:
        task_id = _parser_task(client, path)
        while True:
            result = client.file_parser.content(task_id, format_type="text").json()
            if result.get("status") == "succeeded":
                return str(result.get("content", ""))
            if result.get("status") == "failed":
                raise ParsingFailedError("GLM", path.name)
            if time.monotonic() > deadline:
                raise ProviderTimeoutError("GLM", f"extract the text of {path.name!r}", seconds=timeout)
            time.sleep(_POLL_SECONDS)


def ask(question: str, text: str, *, model: str, timeout: float) -> str:
    """Ask about a file's text, which goes in a system message.

    Raises:
        NoAnswerError: GLM answered with nothing.
        ProviderTimeoutError: GLM did not answer in time.
        zai.core.ZaiError: GLM refused, or could not be reached.
    """
    with _client(timeout=timeout) as client:
        try:
            # not streamed, so it is a whole completion; it is built without validation, so every field may be missing
            completion = cast(
                "Completion",
                client.chat.completions.create(
                    model=model,
                    messages=[{"role": "system", "content": text}, {"role": "user", "content": question}],
                ),
            )
        except APITimeoutError as error:
            raise ProviderTimeoutError("GLM", "answer", seconds=timeout) from error
    choices = getattr(completion, "choices", None)
    answer = choices[0].message.content if choices else None
    if not answer:
        raise NoAnswerError("GLM", completion.to_dict())
    return str(answer)


def _parser_task(client: ZaiClient, path: Path) -> str:
    """Give the parser a file. The answer is built without validation, so every field may be missing."""
    kind = path.suffix.removeprefix(".").upper() or "TXT"
    task = client.file_parser.create(file=(path.name, read_regular(path)), file_type=kind, tool_type="lite").to_dict()
    if not task.get("success") or not task.get("task_id"):
        raise ProviderAnswerError(f"GLM's parser did not take {path.name!r}: {task.get('message', 'no reason given')}")
    return str(task["task_id"])
