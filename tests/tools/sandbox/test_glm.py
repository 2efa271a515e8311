"""The GLM stand-in, seen by `zai-sdk`."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest
from zai import ZaiClient
from zai.core import APIRequestFailedError, APIStatusError

from tools.sandbox import FaultKind, RunningSandbox

TEXT = "The first line\nDragons live in the north\n"


def _upload(glm: ZaiClient, name: str = "report.txt", content: bytes = TEXT.encode(), purpose: str = "agent") -> str:
    return str(glm.files.create(file=(name, content), purpose=purpose).id)  # type: ignore[arg-type]  # newer purposes


def test_file_lives_from_upload_to_deletion(glm: ZaiClient, sandbox: RunningSandbox) -> None:
    """A file is uploaded, listed and deleted; it has no status."""
    created = glm.files.create(file=("report.txt", TEXT.encode()), purpose="agent")  # type: ignore[arg-type]  # as above
    assert (created.object, created.bytes, created.filename, created.purpose) == ("file", 41, "report.txt", "agent")
    assert created.status is None
    assert [file.id for file in glm.files.list().data] == [created.id]
    assert sandbox.state()["glm"]["files"][0]["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    assert glm.files.delete(str(created.id)).deleted
    assert glm.files.list().data == []


@pytest.mark.parametrize("path", ["/files/{id}", "/files/{id}/content"])
def test_metadata_and_content_cannot_be_asked_for(
    glm: ZaiClient, sandbox: RunningSandbox, http: httpx.Client, path: str
) -> None:
    """There is no way to get one file's metadata or content: "cannot reconcile" is possible."""
    answer = http.get(sandbox.urls["glm"] + path.format(id=_upload(glm)))
    assert answer.status_code == 404
    assert isinstance(answer.json()["error"]["code"], str)


def test_listing_is_paged(glm: ZaiClient) -> None:
    """Pages follow each other with `after`, and `has_more` is false on the last."""
    ids = [_upload(glm, f"{number}.txt") for number in range(5)]
    first = glm.files.list(limit=2)
    second = glm.files.list(limit=2, after=str(first.data[-1].id))
    third = glm.files.list(limit=2, after=str(second.data[-1].id))
    assert [file.id for page in (first, second, third) for file in page.data] == ids
    assert [first.has_more, second.has_more, third.has_more] == [True, True, False]
    assert glm.files.list(limit=5).has_more is False


def test_listing_can_be_narrowed_to_a_purpose(glm: ZaiClient) -> None:
    """Only files of the purpose asked for are listed."""
    _upload(glm, purpose="agent")
    batch = _upload(glm, purpose="batch")
    assert [file.id for file in glm.files.list(purpose="batch").data] == [batch]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "after=unknown", "order=size"])
def test_wrong_paging_is_refused(sandbox: RunningSandbox, http: httpx.Client, query: str) -> None:
    """A page size, cursor or order that cannot be is an error with code 1214."""
    answer = http.get(f"{sandbox.urls['glm']}/files?{query}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "1214")


def test_parser_reads_a_file(glm: ZaiClient, sandbox: RunningSandbox) -> None:
    """The parser answers with a task, shows that it works, then the text; its file is not listed."""
    task = glm.file_parser.create(file=("report.txt", TEXT.encode()), file_type="TXT", tool_type="lite")
    assert task.success
    sandbox.inject(FaultKind.UNPARSED, "glm", "parser.result")
    results: list[dict[str, Any]] = [
        glm.file_parser.content(task_id=task.task_id, format_type="text").json() for _ in range(2)
    ]
    assert [result["status"] for result in results] == ["processing", "succeeded"]
    assert results[1]["content"] == TEXT
    assert glm.files.list().data == []


def test_parser_can_fail(glm: ZaiClient, sandbox: RunningSandbox) -> None:
    """A task whose parsing fails says so."""
    sandbox.inject(FaultKind.PARSING_FAILS, "glm", "parser.create")
    task = glm.file_parser.create(file=("report.txt", TEXT.encode()), file_type="TXT", tool_type="lite")
    assert glm.file_parser.content(task_id=task.task_id, format_type="text").json()["status"] == "failed"


def test_answers_come_from_the_text_given(glm: ZaiClient) -> None:
    """Chat quotes the text, whole and streamed alike."""
    messages = [{"role": "system", "content": TEXT}, {"role": "user", "content": "Where are dragons?"}]
    whole: Any = glm.chat.completions.create(model="glm", messages=messages)
    streamed: Any = glm.chat.completions.create(model="glm", messages=messages, stream=True)
    words = "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
    assert words == whole.choices[0].message.content
    assert "Dragons live in the north" in words


def test_too_large_a_file_is_435(glm: ZaiClient, sandbox: RunningSandbox) -> None:
    """A file over the limit is HTTP 435, and nothing of it is kept."""
    sandbox.set_limits(glm_max_bytes=100)
    with pytest.raises(APIStatusError) as refused:
        _upload(glm, content=b"x" * 101)
    assert refused.value.status_code == 435
    assert list((sandbox.home / "bodies").iterdir()) == []


def test_wrong_purpose_is_refused(glm: ZaiClient) -> None:
    """A purpose that no page documents is error 1214."""
    with pytest.raises(APIRequestFailedError, match="1214"):
        _upload(glm, purpose="nonsense")


def test_number_of_files_is_limited(glm: ZaiClient, sandbox: RunningSandbox) -> None:
    """One file more than allowed is refused."""
    sandbox.set_limits(glm_max_files=1)
    _upload(glm)
    with pytest.raises(APIRequestFailedError, match="at most 1 files"):
        _upload(glm)
