"""Chat without a model: an answer computed from the text given, always the same for the same text."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

_QUOTED = 200
_CHARACTERS_PER_TOKEN = 4
_WORD = re.compile(r"\w{4,}")


class InvalidChatError(Exception):
    """The request is no chat; the message is for the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A chat request, reduced to what an answer depends on."""

    model: str
    texts: tuple[str, ...]
    question: str
    stream: bool

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Chat:
        """Read a request.

        Raises:
            InvalidChatError: model or messages are missing or of the wrong shape.
        """
        model, messages = body.get("model"), body.get("messages")
        if not isinstance(model, str) or not model:
            raise InvalidChatError("model is required")
        if not isinstance(messages, list) or not messages:
            raise InvalidChatError("messages must be a list that is not empty")
        texts = [text for message in messages for text in _texts(message)]
        question = next((text for text in reversed(texts) if text.strip()), "")
        return cls(
            model=model,
            texts=tuple(texts[: len(texts) - 1 - texts[::-1].index(question)] if question else ()),
            question=question,
            stream=body.get("stream") is True,
        )


def answer(chat: Chat) -> str:
    """Say what was given, quote its beginning and the line closest to the question."""
    text = "\n".join(_unwrapped(text) for text in chat.texts if text.strip())
    if not text:
        return f'No document was given. The question was: "{_quote(chat.question)}"'
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    sentences = [
        f"The text given has {len(text)} characters in {len(lines)} lines.",
        f'It begins: "{_quote(first)}"',
    ]
    closest = _closest(lines, chat.question)
    if closest is not None:
        sentences.append(f'Closest to the question is line {closest + 1}: "{_quote(lines[closest])}"')
    sentences.append("(Answered by the sandbox, without a model.)")
    return " ".join(sentences)


def completion(chat: Chat, *, created: int) -> dict[str, Any]:
    """The whole answer at once."""
    text = answer(chat)
    prompt = sum(map(len, (*chat.texts, chat.question))) // _CHARACTERS_PER_TOKEN + 1
    words = len(text) // _CHARACTERS_PER_TOKEN + 1
    return {
        **_head(chat, text, "chat.completion", created),
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": words, "total_tokens": prompt + words},
    }


def streamed(chat: Chat, *, created: int) -> web.Response:
    """The answer word by word, as server-sent events."""
    return web.Response(body=_events(chat, created), headers={"Content-Type": "text/event-stream; charset=utf-8"})


async def _events(chat: Chat, created: int) -> AsyncIterator[bytes]:
    text = answer(chat)
    head = _head(chat, text, "chat.completion.chunk", created)
    yield _event(head, {"role": "assistant", "content": ""})
    for word in re.findall(r"\S+\s*", text):
        yield _event(head, {"content": word})
    yield _event(head, {}, finish="stop")
    yield b"data: [DONE]\n\n"


def _event(head: Mapping[str, Any], delta: Mapping[str, str], finish: str | None = None) -> bytes:
    chunk = {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()


def _head(chat: Chat, text: str, kind: str, created: int) -> dict[str, Any]:
    identity = hashlib.sha256(text.encode()).hexdigest()[:24]
    return {"id": f"chatcmpl-{identity}", "object": kind, "created": created, "model": chat.model}


def _texts(message: object) -> Sequence[str]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise InvalidChatError("a message is an object with role and content")
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    if isinstance(content, list):
        return [part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str)]
    if content is None:
        return []
    raise InvalidChatError("content must be a text or a list of parts")


def _unwrapped(text: str) -> str:
    """The text within a file content that was passed on as the JSON it came in."""
    if not text.startswith("{"):
        return text
    try:
        content = json.loads(text).get("content")
    except ValueError:
        return text
    return content if isinstance(content, str) else text


def _closest(lines: Sequence[str], question: str) -> int | None:
    asked = set(_WORD.findall(question.lower()))
    if not asked:
        return None
    shared = [len(asked.intersection(_WORD.findall(line.lower()))) for line in lines]
    best = max(shared)
    return shared.index(best) if best else None


def _quote(text: str) -> str:
    stripped = text.strip()
    return stripped if len(stripped) <= _QUOTED else stripped[:_QUOTED] + "…"
