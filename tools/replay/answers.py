"""The answers that the primary got, to be given again in a rehearsal."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable

from tools.replay.repeats import is_final
from tools.replay.services import Target
from tools.wire.exchanges import Exchange


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
        that name another one are kept for that; but providers write names in their own way, so one is always given.
        """
        answers = self._answers[target]
        if not answers:
            return None
        fitting = (index for index, answer in enumerate(answers) if not _is_about_another(answer, filename, size))
        index = next(fitting, 0)
        return answers[index] if len(answers) == 1 and is_final(answers[index]) else answers.pop(index)


def _is_about_another(answer: Exchange, filename: str | None, size: int | None) -> bool:
    if filename is None:
        return False
    try:
        body = json.loads(answer.body)
    except ValueError:
        return False
    return isinstance(body, dict) and "filename" in body and (body["filename"], body.get("bytes")) != (filename, size)
