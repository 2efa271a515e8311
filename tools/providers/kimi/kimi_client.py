"""What the monolith asks of Kimi (Moonshot), through the vendor's recommended SDK. Each call has its own connection."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import cast

from openai import DEFAULT_TIMEOUT, APITimeoutError, NotFoundError, OpenAI
from openai.types import FilePurpose

from tools.files import read_regular
from tools.providers.answers import (
    FileGoneError,
    NoAnswerError,
    ParsingFailedError,
    ProviderTimeoutError,
    file_id_of,
    required_key,
)
from tools.settings import get_settings

_PARSED = frozenset({"ok", "ready"})
_NOT_PARSABLE = frozenset({"error", "failed"})
_POLL_SECONDS = 0.2


def _client(*, timeout: float | None = None) -> OpenAI:
    """A fresh client with the SDK's own retries, and its own time-outs unless one is given. The caller closes it."""
    settings = get_settings()
    return OpenAI(
        api_key=required_key(settings.kimi_api_key, "KIMI_API_KEY"),
        base_url=settings.kimi_api_url,
        timeout=DEFAULT_TIMEOUT if timeout is None else timeout,
    )


def send_file(path: Path, purpose: str) -> str:
    """Upload a file and return its id.

    Raises:
        MissingKeyError: no key is configured.
        openai.OpenAIError: Kimi refused, or could not be reached.
        NoFileIdError: Kimi answered without an id.
    """
    with _client() as client:
        # the SDK's list of purposes is OpenAI's; Kimi has its own
        answer = client.files.create(file=(path.name, read_regular(path)), purpose=cast("FilePurpose", purpose))
    return file_id_of(answer.to_dict())


def extract_text(path: Path, file_id: str, *, timeout: float) -> str:
    """Wait until Kimi has parsed the file, at most `timeout` seconds, and return its text.

    `path` is not read: Kimi has the file.

    Raises:
        FileGoneError: Kimi does not have the file.
        ParsingFailedError: Kimi cannot parse the file.
        ProviderTimeoutError: it did not finish in time.
        openai.OpenAIError: Kimi refused, or could not be reached.
    """
    deadline = time.monotonic() + timeout
    with _client(timeout=timeout) as client:
        while (status := _status(client, file_id)) not in _PARSED:
            if status in _NOT_PARSABLE:
                raise ParsingFailedError("Kimi", path.name)
            if time.monotonic() > deadline:
                raise ProviderTimeoutError("Kimi", f"extract the text of {path.name!r}", seconds=timeout)
            time.sleep(_POLL_SECONDS)
        return _plain_text(client.files.content(file_id).text)


def ask(question: str, text: str, *, model: str, timeout: float) -> str:
    """Ask about a file's text, which Kimi wants in a system message.

    Raises:
        NoAnswerError: Kimi answered with nothing.
        ProviderTimeoutError: Kimi did not answer in time.
        openai.OpenAIError: Kimi refused, or could not be reached.
    """
    with _client(timeout=timeout) as client:
        try:
            completion = client.chat.completions.create(
                model=model,
                messages=[{"role": "system", "content": text}, {"role": "user", "content": question}],
            )
        except APITimeoutError as error:
            raise ProviderTimeoutError("Kimi", "answer", seconds=timeout) from error
    answer = completion.choices[0].message.content if completion.choices else None
    if not answer:
        raise NoAnswerError("Kimi", completion.to_dict())
    return answer


def _status(client: OpenAI, file_id: str) -> str:
    try:
        return client.files.retrieve(file_id).status
    except NotFoundError as error:
        raise FileGoneError("Kimi", file_id) from error


def _plain_text(content: str) -> str:
    """Kimi answers with the text itself, or with a JSON object that has it under `content`."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return content
    if isinstance(document, dict) and document.get("type") == "file" and isinstance(document.get("content"), str):
        return str(document["content"])
    return content
