"""Which of the noted answers a request is given."""

from __future__ import annotations

import json

import pytest

from shim.http.facts import RequestFacts, RequestTarget
from shim.http.recorder import AnswerBook
from shim.http.recording import Exchange
from tools.shadowing.replay import strangeness

POST = RequestTarget("kimi", "POST", "/files")
NAMES = ('a "quoted" back\\slash 100%41.txt', "notes.txt", "table.csv")


def book(*files: tuple[str, int]) -> AnswerBook:
    answers = (json.dumps({"id": name, "filename": name, "bytes": size}).encode() for name, size in files)
    return AnswerBook((POST, Exchange(method="POST", url="u", status=200, body=body)) for body in answers)


def given(answers: AnswerBook, filename: str, size: int) -> str:
    answer = answers.take(POST, strangeness(RequestFacts(facts={}, filename=filename, size=size)))
    assert answer is not None
    return str(json.loads(answer.body)["id"])


@pytest.mark.parametrize(
    "arriving", ["a %22quoted%22 back\\slash 100%41.txt", "a %22quoted%22 back\\\\slash 100%41.txt"]
)
def test_a_file_gets_its_own_answer_however_its_name_is_written(arriving: str) -> None:
    """Of files of one size, which arrive in another order, each gets the answer of its name, escaped or not."""
    answers = book(*((name, 10) for name in reversed(NAMES)))
    assert given(answers, arriving, 10) == NAMES[0]
    assert given(answers, NAMES[2], 10) == NAMES[2]
    assert given(answers, NAMES[1], 10) == NAMES[1]


def test_a_name_that_is_not_recognised_gets_the_answer_of_its_size() -> None:
    """A server may write names in its own way; the answers of the other files are kept for them."""
    answers = book(("first.txt", 1), ("second", 2))
    assert given(answers, "zweite.txt", 2) == "second"
    assert given(answers, "first.txt", 1) == "first.txt"
