"""The answers that the primary got, to be given again in a rehearsal."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable

from tools.replay.services import Target
from tools.wire.exchanges import Exchange


class AnswerBook:
    """The answers by what they were for; each is given once, in the order in which the primary got them."""

    def __init__(self, exchanges: Iterable[tuple[Target, Exchange]]) -> None:
        self._answers: defaultdict[Target, list[Exchange]] = defaultdict(list)
        for target, exchange in exchanges:
            self._answers[target].append(exchange)

    def take(self, target: Target, *, filename: str | None = None, size: int | None = None) -> Exchange | None:
        """The next answer for `target`, preferably the one about this file; None if the primary never asked (so often).

        Several files that are uploaded at once may arrive in any order, and a provider's answer names the file.
        """
        answers = self._answers[target]
        if not answers:
            return None
        about_it = (index for index, answer in enumerate(answers) if _is_about(answer, filename, size))
        return answers.pop(next(about_it, 0))


def _is_about(answer: Exchange, filename: str | None, size: int | None) -> bool:
    if filename is None:
        return True
    try:
        body = json.loads(answer.body)
    except ValueError:
        return False
    return isinstance(body, dict) and body.get("filename") == filename and body.get("bytes") == size
