"""Keeps keys out of what debuggers and error reporters show: the variables of a traceback's frames."""

from __future__ import annotations

from httpx import _models


class RedactedText(str):
    """A text that is sent like any other and does not show itself. What is made of it is ordinary text again."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'...'"


def hide_api_keys() -> None:
    """Let httpx show the header in which Supabase takes keys as it shows `Authorization`: as `[secure]`."""
    _models.SENSITIVE_HEADERS.add("apikey")
