"""The answers that the primary got, to be given again in a rehearsal.

The vendors' SDKs, which legacy uses, repeat every 429. The new path does not repeat one that says that the quota is
used up: a refused request creates nothing, and asking again would change nothing. So that this is no difference, such
a refusal is given again whenever it is asked for, and its repeats are left out of the comparison.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import unquote

from aiohttp import StreamReader, web

from shim.http.recording import Exchange
from tools.providers.spec import PROVIDERS
from tools.shadowing.requests import Target

REFUSED = "refused"
"""The field of a noted request that says that it was refused for good."""


def is_final(answer: Exchange | None) -> bool:
    """Whether this answer is a refusal for good, which is the same for whoever asks again."""
    return answer is not None and any(
        each.files.refuses_for_good(answer.status, answer.body) for each in PROVIDERS.values()
    )


def counted_once(seen: Iterable[dict[str, object]]) -> list[dict[str, object]]:
    """The requests without those that repeat, in every detail, an earlier one that was refused for good."""
    kept: list[dict[str, object]] = []
    refused: list[dict[str, object]] = []
    for request in seen:
        if request in refused:
            continue
        if REFUSED in request:
            refused.append(request)
        kept.append(request)
    return kept


# The answers that the primary got, to be given again in a rehearsal.


class AnswerBook:
    """The answers by what they were for; each is given once, in the order in which the primary got them.

    If the last one is a refusal for good, it is given for ever.
    """

    def __init__(self, exchanges: Iterable[tuple[Target, Exchange]]) -> None:
        self._answers: defaultdict[Target, list[Exchange]] = defaultdict(list)
        for target, exchange in exchanges:
            self._answers[target].append(exchange)

    def take(self, target: Target, *, filename: str | None = None, size: int | None = None) -> Exchange | None:
        """The next answer for `target`; None if the primary never asked (so often).

        Several files that are uploaded at once may arrive in any order. A provider's answer names its file, so answers
        that name another one are kept for that; but providers write names in their own way, so one is always given,
        if need be one for a file of this size.
        """
        answers = self._answers[target]
        if not answers:
            return None
        strangeness = [_strangeness(answer, filename, size) for answer in answers]
        index = strangeness.index(min(strangeness))
        return answers[index] if len(answers) == 1 and is_final(answers[index]) else answers.pop(index)


def _strangeness(answer: Exchange, filename: str | None, size: int | None) -> int:
    """0 if the answer can be about this file, 1 if it can but for the name, 2 if it is about another file."""
    if filename is None:
        return 0
    try:
        body = json.loads(answer.body)
    except ValueError:
        return 0
    if not isinstance(body, dict) or "filename" not in body:
        return 0
    if body.get("bytes") != size:
        return 2
    return 0 if _plain(str(body["filename"])) == _plain(filename) else 1


def _plain(name: str) -> str:
    """A name without the escapes of a form, some of which a server may have undone."""
    return unquote(name).replace("\\\\", "\\")


# Answers that were noted, to be given once more.

_NOT_RECORDED = {"error": {"type": "not_recorded", "message": "the call that is rehearsed did not make this request"}}


def repeated(answer: Exchange | None) -> web.Response:
    """The noted answer; 501 when there is none."""
    if answer is None or answer.status is None:
        return web.json_response(_NOT_RECORDED, status=501)
    return web.Response(status=answer.status, headers=_sendable(answer.headers), body=answer.body)


def repeated_in_tus(answer: Exchange | None) -> web.Response:
    """The noted refusal of an object as a resumable upload meets it: the true status, and the message as text."""
    headers = {"Tus-Resumable": "1.0.0", "Retry-After": "0"}
    if answer is None or answer.status is None:
        return web.Response(status=501, headers=headers)
    try:
        document = json.loads(answer.body)
        return web.Response(status=int(document["statusCode"]), text=str(document["message"]), headers=headers)
    except (ValueError, LookupError, TypeError):  # not in Storage's words, so it came from somebody in between
        return web.Response(status=answer.status, headers=_sendable(answer.headers) | headers, body=answer.body)


def _sendable(headers: Mapping[str, str]) -> dict[str, str]:
    """The noted headers, without a wait that a rehearsal need not sit through."""
    sendable = dict(headers)
    if "retry-after" in sendable:
        sendable |= {"retry-after": "0.01", "retry-after-ms": "10"}
    return sendable


# How long a rehearsal waits for a side that sends less than it has announced.

STALL_SECONDS = 10.0
"""A side of which nothing more arrives for so long, over the loopback, is not going to send it."""


@asynccontextmanager
async def arriving(body: StreamReader) -> AsyncIterator[None]:
    """Surround what reads a request's body.

    Raises:
        TimeoutError: nothing has arrived for `STALL_SECONDS`, and the body is not complete.
    """
    async with asyncio.timeout(STALL_SECONDS) as patience:
        watching = asyncio.create_task(_renew(patience, body))
        try:
            yield
        finally:
            watching.cancel()


async def _renew(patience: asyncio.Timeout, body: StreamReader) -> None:
    """Begin to wait anew whenever something has arrived; for ever once all has."""
    seen = -1
    while not body.is_eof():
        if body.total_bytes != seen:
            seen = body.total_bytes
            patience.reschedule(asyncio.get_running_loop().time() + STALL_SECONDS)
        await asyncio.sleep(STALL_SECONDS / 20)
    patience.reschedule(None)
