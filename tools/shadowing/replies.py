"""Answers that were noted, to be given once more."""

from __future__ import annotations

import json
from collections.abc import Mapping

from aiohttp import web

from shim.http.exchanges import Exchange

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
