"""Answers of providers that are well-formed and yet no success.

Sources: the error tables of platform.moonshot.ai and docs.z.ai; GLM's overload inside a success was seen in the wild.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tools.errors import MissingKeyError, ToolsError

if TYPE_CHECKING:
    from pydantic import SecretStr


class ProviderAnswerError(ToolsError):
    """A provider answered without an error status, but not with what was asked for."""


class NoFileIdError(ProviderAnswerError):
    """An upload was answered without a file id.

    GLM has been seen to answer an overload with status 200 and an error in the body.

    Attributes:
        is_refusal: the provider said that it is an error, so there is no file.
    """

    def __init__(self, answer: Mapping[str, object]) -> None:
        self.is_refusal = bool(answer.get("error"))
        super().__init__(f"the answer has no file id{_reason_in(answer)}")


def file_id_of(answer: Mapping[str, object]) -> str:
    """The id in the answer to an upload.

    Raises:
        NoFileIdError: there is none; the provider's own error, if it sent one, is in the text.
    """
    file_id = answer.get("id")
    if not isinstance(file_id, str) or not file_id:
        raise NoFileIdError(answer)
    return file_id


class FileGoneError(ProviderAnswerError):
    """A provider does not have a file that was uploaded to it."""

    def __init__(self, provider: str, file_id: str) -> None:
        self.file_id = file_id
        super().__init__(f"{provider} does not have the file {file_id}")


class ParsingFailedError(ProviderAnswerError):
    """A provider could not read the text of a file."""

    def __init__(self, provider: str, filename: str) -> None:
        super().__init__(f"{provider} could not extract the text of {filename!r}")


class ProviderTimeoutError(ProviderAnswerError, TimeoutError):
    """A provider did not do in time what it was asked to do."""

    def __init__(self, provider: str, action: str, *, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"{provider} did not {action} within {seconds:g} s")


class NoAnswerError(ProviderAnswerError):
    """A provider answered a question with nothing."""

    def __init__(self, provider: str, answer: Mapping[str, object]) -> None:
        super().__init__(f"{provider} gave no answer{_reason_in(answer)}")


def _reason_in(answer: Mapping[str, object]) -> str:
    """The error that a provider put into an answer with a status of success."""
    error = answer.get("error")
    if not isinstance(error, Mapping):
        return ""
    told = " ".join(str(error[name]) for name in ("code", "message") if error.get(name))
    return f": {told}" if told else ""


def error_kinds(body: bytes | str) -> set[str]:
    """The type and code of an error in an answer, nested (`{"error": {"code": ...}}`) or flat."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return set()
    if not isinstance(parsed, Mapping):
        return set()
    error = parsed.get("error", parsed)
    return {str(error[name]) for name in ("type", "code") if name in error} if isinstance(error, Mapping) else set()


def listed_name(name: str) -> str:
    """A file's name in one form, the same for all forms in which a server may list it.

    A form carries quotes as `%22` and backslashes doubled. Some servers undo that, some undo part of it, some nothing.
    """
    return unquote(name).replace("\\\\", "\\")


def required_key(key: SecretStr | None, variable: str) -> str:
    """The key in plain text.

    Raises:
        MissingKeyError: there is none; the error names the variable to set.
    """
    if key is None:
        raise MissingKeyError(variable)
    return key.get_secret_value()
