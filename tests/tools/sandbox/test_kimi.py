"""The Kimi stand-in, seen by `openai` and `agno`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import openai
import pytest
from agno.agent import Agent
from agno.media import File
from agno.models.moonshot import MoonShot
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tools.sandbox import FaultKind, RunningSandbox

PURPOSE = "file-extract"
TEXT = "The first line\nDragons live in the north\nThe last line\n"


def _upload(kimi: OpenAI, name: str = "report.txt", content: bytes = TEXT.encode(), purpose: str = PURPOSE) -> str:
    return kimi.files.create(file=(name, content), purpose=purpose).id  # type: ignore[arg-type]  # Kimi has own purposes


def test_file_lives_from_upload_to_deletion(kimi: OpenAI, sandbox: RunningSandbox) -> None:
    """A file is uploaded, listed, retrieved, read and deleted, and what arrived is what was sent."""
    created = kimi.files.create(file=("report.txt", TEXT.encode()), purpose=PURPOSE)  # type: ignore[arg-type]  # as above
    assert (created.object, created.bytes, created.filename, created.purpose, created.status) == (
        "file",
        len(TEXT),
        "report.txt",
        PURPOSE,
        "ok",
    )
    assert kimi.files.retrieve(created.id) == created
    assert kimi.files.list().data == [created]
    assert sandbox.state()["kimi"]["files"][0]["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    assert kimi.files.delete(created.id).deleted
    assert kimi.files.list().data == []
    with pytest.raises(openai.NotFoundError) as gone:
        kimi.files.retrieve(created.id)
    assert gone.value.type == "resource_not_found_error"


async def test_asynchronous_client_is_served_alike(async_kimi: AsyncOpenAI) -> None:
    """The asynchronous client uploads, reads, asks and deletes."""
    created = await async_kimi.files.create(file=("a.md", TEXT.encode()), purpose=PURPOSE)  # type: ignore[arg-type]  # as above
    content = (await async_kimi.files.content(created.id)).text
    answer = await async_kimi.chat.completions.create(
        model="kimi",
        messages=[{"role": "system", "content": content}, {"role": "user", "content": "Where are dragons?"}],
    )
    assert "Dragons live in the north" in (answer.choices[0].message.content or "")
    assert [file.id for file in (await async_kimi.files.list()).data] == [created.id]
    assert (await async_kimi.files.delete(created.id)).deleted


def test_content_is_json_or_plain_text(kimi: OpenAI, sandbox: RunningSandbox) -> None:
    """Content comes as a JSON text, or as plain text when told so; the words are the same."""
    identity = _upload(kimi)
    assert json.loads(kimi.files.content(identity).text) == {
        "content": TEXT,
        "file_type": "text/plain",
        "filename": "report.txt",
        "title": "",
        "type": "file",
    }
    sandbox.inject(FaultKind.CONTENT_AS_TEXT, "kimi", "files.content")
    assert kimi.files.content(identity).text == TEXT


def test_what_is_no_text_is_described(kimi: OpenAI) -> None:
    """The content of a binary file says in words what it is."""
    image = b"\x89PNG\r\n\x1a\n\x00\x00"
    content = json.loads(kimi.files.content(_upload(kimi, "dot.png", image)).text)["content"]
    assert "dot.png is a file of type image/png with 10 bytes" in content
    assert hashlib.sha256(image).hexdigest() in content


def test_answers_come_from_the_text_given(kimi: OpenAI) -> None:
    """The same text gives the same answer, with its first line and the line closest to the question."""
    content = kimi.files.content(_upload(kimi)).text
    texts = {
        kimi.chat.completions.create(
            model="kimi",
            messages=[{"role": "system", "content": content}, {"role": "user", "content": "What about dragons?"}],
        )
        .choices[0]
        .message.content
        for _ in range(2)
    }
    (answer,) = texts
    assert answer is not None
    assert "55 characters in 3 lines" in answer
    assert '"The first line"' in answer
    assert 'line 2: "Dragons live in the north"' in answer


def test_streamed_answer_is_the_same(kimi: OpenAI) -> None:
    """With stream=True the same answer arrives as server-sent events."""
    messages: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": TEXT},
        {"role": "user", "content": "Where are dragons?"},
    ]
    whole = kimi.chat.completions.create(model="kimi", messages=messages)
    chunks = list(kimi.chat.completions.create(model="kimi", messages=messages, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_agno_reads_a_file(sandbox: RunningSandbox, tmp_path: Path) -> None:
    """A third party's Moonshot client uploads a file, waits for its text and asks about it."""
    path = tmp_path / "dragons.txt"
    path.write_text(TEXT)
    agent = Agent(model=MoonShot(id="kimi", base_url=sandbox.urls["kimi"], api_key=sandbox.key), telemetry=False)
    answer = agent.run("Where do dragons live?", files=[File(filepath=path)])
    assert "Dragons live in the north" in str(answer.content)
    assert [request["operation"] for request in sandbox.requests("kimi")] == [
        "files.create",
        "files.retrieve",
        "files.content",
        "chat",
    ]


@pytest.mark.parametrize(
    ("upload", "message"),
    [
        (("a.txt", b"x", "fine-tune"), "Invalid purpose: only 'file-extract' accepted"),
        (("a.txt", b"", PURPOSE), "File size is zero, please confirm and re-upload the file"),
        (("a.txt", b"x" * 101, PURPOSE), "File size is too large, max file size is 100MB"),
        (("no-extension", b"x", PURPOSE), "the file name has no extension"),
    ],
)
def test_refusals(kimi: OpenAI, sandbox: RunningSandbox, upload: tuple[str, bytes, str], message: str) -> None:
    """A wrong purpose, an empty, a too large and a nameless file are refused in Moonshot's words; nothing is kept."""
    sandbox.set_limits(kimi_max_bytes=100)
    with pytest.raises(openai.BadRequestError, match=message) as refused:
        _upload(kimi, *upload)
    assert refused.value.type == "invalid_request_error"
    assert sandbox.state()["kimi"]["files"] == []
    assert list((sandbox.home / "bodies").iterdir()) == []


def test_a_file_of_exactly_the_limit_is_kept(kimi: OpenAI, sandbox: RunningSandbox) -> None:
    """The limit itself is allowed."""
    sandbox.set_limits(kimi_max_bytes=100)
    _upload(kimi, content=b"x" * 100)
    assert sandbox.state()["kimi"]["files"][0]["bytes"] == 100


def test_number_of_files_is_limited(kimi: OpenAI, sandbox: RunningSandbox) -> None:
    """One file more than allowed is refused, until one is deleted."""
    sandbox.set_limits(kimi_max_files=1)
    first = _upload(kimi)
    with pytest.raises(openai.BadRequestError, match="exceeded the max file count 1, please delete previous"):
        _upload(kimi)
    kimi.files.delete(first)
    _upload(kimi)


def test_parsing_takes_time(kimi: OpenAI, sandbox: RunningSandbox) -> None:
    """A file that is not parsed yet is `created` and has no content; later it is `ok`."""
    identity = _upload(kimi)
    sandbox.inject(FaultKind.UNPARSED, "kimi", "files.retrieve")
    sandbox.inject(FaultKind.UNPARSED, "kimi", "files.content")
    assert kimi.files.retrieve(identity).status == "created"  # type: ignore[comparison-overlap]  # Kimi has own states
    with pytest.raises(openai.NotFoundError):
        kimi.files.content(identity)
    assert kimi.files.retrieve(identity).status == "ok"  # type: ignore[comparison-overlap]  # as above
    assert TEXT.splitlines()[0] in kimi.files.content(identity).text


def test_slow_parsing_outlasts_the_upload(kimi: OpenAI, sandbox: RunningSandbox) -> None:
    """A file uploaded under slow parsing stays `created` for that time."""
    sandbox.inject(FaultKind.SLOW_PARSING, "kimi", "files.create", seconds=3600)
    identity = _upload(kimi)
    assert kimi.files.retrieve(identity).status == "created"  # type: ignore[comparison-overlap]  # Kimi has own states


def test_parsing_can_fail(kimi: OpenAI, sandbox: RunningSandbox) -> None:
    """A file whose parsing fails ends in `error` and has no content."""
    sandbox.inject(FaultKind.PARSING_FAILS, "kimi", "files.create")
    identity = _upload(kimi)
    assert kimi.files.retrieve(identity).status == "error"
    with pytest.raises(openai.NotFoundError):
        kimi.files.content(identity)


@pytest.mark.parametrize("name", ["plain.txt", 'a"b.txt', "größe 中文 😀.txt", "a;b;c.txt", "a\\b.txt", "a%b=c'd.txt"])
def test_names_arrive_as_they_were_given(kimi: OpenAI, name: str) -> None:
    """Quotes, semicolons, backslashes and letters of all scripts survive the way through a multipart header."""
    assert kimi.files.retrieve(_upload(kimi, name)).filename == name


@pytest.mark.parametrize("sent", ["folder/a.txt", "/a.txt", "../../a.txt"])
def test_folders_are_cut_off_a_name(kimi: OpenAI, sent: str) -> None:
    """Only the last segment of a path counts as a file's name."""
    assert kimi.files.retrieve(_upload(kimi, sent)).filename == "a.txt"


def test_parts_are_logged_in_order_and_raw(kimi: OpenAI, sandbox: RunningSandbox) -> None:
    """The request log shows part order, raw part headers and digests, and neither key nor contents."""
    _upload(kimi, 'a"b.txt')
    (request,) = sandbox.requests("kimi", "files.create")
    purpose, file = request["parts"]
    assert (purpose["name"], purpose["value"], file["name"]) == ("purpose", PURPOSE, "file")
    assert file["headers"] == [
        ["Content-Disposition", 'form-data; name="file"; filename="a%22b.txt"'],
        ["Content-Type", "text/plain"],
    ]
    assert file["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    assert sandbox.key not in json.dumps(request)
    assert "Dragons" not in json.dumps(request)
