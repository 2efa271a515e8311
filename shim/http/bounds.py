"""Bounds for the answers that `httpx` and `httpx2` read, which have none: neither in length nor in time.

Their time-outs are for one read each, so an answer that drips in ends at its sender's pleasure; all of it is held.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any


def bounded_answers(
    *,
    limit: int,
    seconds: float,
    too_long: Callable[[Any], None],
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, list[Callable[[Any], None]]]:
    """Event hooks for a blocking client of `httpx` or `httpx2`, with which it reads every answer within bounds.

    A longer answer than `limit` bytes is closed, and then given to `too_long`, which may raise; if it does not, the
    answer counts as empty. One that takes more than `seconds` after its head is the library's own `ReadTimeout`.
    """

    def read(response: Any) -> None:
        until = clock() + seconds
        pieces: list[bytes] = []
        length = 0
        for piece in response.iter_bytes():
            pieces.append(piece)
            length += len(piece)
            if length > limit:
                response.close()
                pieces = []
                too_long(response)
                break
            if clock() > until:
                response.close()
                library = sys.modules[type(response).__module__.partition(".")[0]]
                raise library.ReadTimeout(f"the answer took more than {seconds:g} s", request=response.request)
        response._content = b"".join(pieces)  # noqa: SLF001  # what `read()` would set; there is no public way

    return {"response": [read]}
