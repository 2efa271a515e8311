"""The answers that the primary got, to be given again in a rehearsal."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from urllib.parse import unquote

from shim.http.exchanges import Exchange
from tools.shadowing.repeats import is_final
from tools.shadowing.services import Target


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
