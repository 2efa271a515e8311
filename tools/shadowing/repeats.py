"""A request that a provider refused for good counts once, however often a side makes it.

The vendors' SDKs, which legacy uses, repeat every 429. The new path does not repeat one that says that the quota is
used up: a refused request creates nothing, and asking again would change nothing. So that this is no difference, such
a refusal is given again whenever it is asked for, and its repeats are left out of the comparison.
"""

from __future__ import annotations

from collections.abc import Iterable

from shim.http.exchanges import Exchange
from tools.providers.refusals import refuses_for_good

REFUSED = "refused"
"""The field of a noted request that says that it was refused for good."""


def is_final(answer: Exchange | None) -> bool:
    """Whether this answer is a refusal for good, which is the same for whoever asks again."""
    return answer is not None and refuses_for_good(answer.status, answer.body)


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
