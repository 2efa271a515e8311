from __future__ import annotations

import asyncio
import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.support.monolith import SetEnvironment
from tools.providers.glm import glm_files
from tools.providers.kimi import kimi_files
from tools.sandbox import FaultKind, RunningSandbox
from tools.smart_file_query import SmartFileQueryTool
from tools.storage.local import uploads_db

QUESTION = "What does the second line say about penguins?"


@pytest.fixture
def document(tmp_path: Path, monolith: RunningSandbox) -> Path:
    del monolith
    path = tmp_path.resolve() / "birds.txt"
    path.write_text("Chapter one.\nA line about penguins and ice.\n")
    return path


async def ask(path: Path | str, **arguments: object) -> dict[str, Any]:
    """One query with a fresh tool."""
    given = {"file_path": str(path), "question": QUESTION} | arguments
    answer: dict[str, Any] = json.loads(await SmartFileQueryTool().execute(given))
    assert set(answer) == {"status", "content", "content_type", "metadata"}
    assert answer["content_type"] == "text"
    return answer


def copied(path: Path, name: str) -> Path:
    """The same content under another name."""
    copy = path.with_name(name)
    copy.write_bytes(path.read_bytes())
    return copy


def file_ids(sandbox: RunningSandbox, provider: str) -> list[str]:
    return [file["id"] for file in sandbox.state()[provider]["files"] if file["purpose"] != "parser"]


@pytest.mark.parametrize(
    ("asked", "used", "model"),
    [
        ("auto", "kimi", "kimi-k2-0905-preview"),
        ("kimi", "kimi", "kimi-k2-0905-preview"),
        ("glm", "glm", "glm-4.6"),
    ],
)
async def test_a_question_is_answered_from_the_file(
    document: Path, sandbox: RunningSandbox, asked: str, used: str, model: str
) -> None:
    """The file is uploaded, its text extracted, and the model asked about it."""
    answer = await ask(document, provider=asked)
    assert answer["status"] == "success"
    assert '"A line about penguins and ice."' in answer["content"]
    assert answer["metadata"] == {
        "provider": used,
        "model": model,
        "file_id": file_ids(sandbox, used)[0],
        "filename": "birds.txt",
        "deduplicated": False,
    }


async def test_the_second_question_uploads_nothing(document: Path, sandbox: RunningSandbox) -> None:
    """Known content is asked about at once, whatever the file is called."""
    first = await ask(document)
    second = await ask(copied(document, "copy.txt"))
    assert second["metadata"]["deduplicated"] is True
    assert second["metadata"]["file_id"] == first["metadata"]["file_id"]
    assert len(sandbox.requests("kimi", "files.create")) == 1


async def test_a_named_model_is_asked(document: Path) -> None:
    """The caller's choice is passed on."""
    answer = await ask(document, provider="glm", model="glm-4.5-air")
    assert answer["metadata"]["model"] == "glm-4.5-air"


@pytest.mark.parametrize(("first", "second"), [("kimi", "glm"), ("glm", "kimi")])
async def test_the_other_provider_is_tried_when_the_first_refuses(
    document: Path, sandbox: RunningSandbox, set_environment: SetEnvironment, first: str, second: str
) -> None:
    """A refused upload goes to the other provider, with that one's own model."""
    set_environment(**{f"{first.upper()}_API_KEY": None})
    answer = await ask(document, provider=first, model=f"{first}-special")
    assert answer["status"] == "success"
    assert answer["metadata"]["provider"] == second
    assert answer["metadata"]["model"] != f"{first}-special"
    assert file_ids(sandbox, first) == []


async def test_a_file_over_one_providers_limit_goes_to_the_other(
    document: Path, set_environment: SetEnvironment
) -> None:
    """The limits are each provider's own."""
    set_environment(GLM_MAX_BYTES="3")
    answer = await ask(document, provider="glm")
    assert answer["metadata"]["provider"] == "kimi"


async def test_two_refusals_are_an_error_with_both_reasons(document: Path, set_environment: SetEnvironment) -> None:
    """The caller learns what either said."""
    set_environment(KIMI_API_KEY=None, GLM_API_KEY=None)
    answer = await ask(document)
    assert answer["status"] == "error"
    assert answer["metadata"] == {"error_type": "upload_failed"}
    assert "Failed to upload to Kimi via SDK: KIMI_API_KEY is not set" in answer["content"]
    assert "Failed to upload to GLM via SDK: GLM_API_KEY is not set" in answer["content"]


async def test_a_replaced_upload_function_is_honoured(
    document: Path, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The providers' functions are looked up at each call, with the arguments that they always had."""
    original = kimi_files.upload_via_supabase_gateway_kimi
    calls: list[tuple[object, ...]] = []

    def replacement(*arguments: Any) -> dict[str, Any]:
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(kimi_files, "upload_via_supabase_gateway_kimi", replacement)
    assert (await ask(document))["status"] == "success"
    [(path, _, purpose)] = calls
    assert (path, purpose) == (document, "file-extract")
    assert len(file_ids(sandbox, "kimi")) == 1


@pytest.mark.parametrize("kind", [FaultKind.UNPARSED, FaultKind.CONTENT_AS_TEXT])
async def test_a_file_is_read_once_it_is_parsed(document: Path, sandbox: RunningSandbox, kind: FaultKind) -> None:
    """Kimi parses in its own time, and answers with text or JSON."""
    operation = "files.retrieve" if kind is FaultKind.UNPARSED else "files.content"
    sandbox.inject(kind, "kimi", operation)
    answer = await ask(document)
    assert '"A line about penguins and ice."' in answer["content"]


async def test_glms_parser_is_waited_for(document: Path, sandbox: RunningSandbox) -> None:
    """GLM parses in its own time, too."""
    sandbox.inject(FaultKind.UNPARSED, "glm", "parser.result")
    assert (await ask(document, provider="glm"))["status"] == "success"


@pytest.mark.parametrize("provider", ["kimi", "glm"])
async def test_a_file_that_cannot_be_parsed_is_a_failed_query(
    document: Path, sandbox: RunningSandbox, provider: str
) -> None:
    """The upload stands; the answer says what did not work."""
    operation = "files.create" if provider == "kimi" else "parser.create"
    sandbox.inject(FaultKind.PARSING_FAILS, provider, operation)
    answer = await ask(document, provider=provider)
    assert answer["metadata"] == {"error_type": "query_failed"}
    assert "could not extract the text of 'birds.txt'" in answer["content"]


@pytest.mark.parametrize(
    ("provider", "kind", "text"),
    [
        ("kimi", FaultKind.QUOTA_EXCEEDED, "429"),
        ("glm", FaultKind.ERROR_IN_SUCCESS, "GLM gave no answer: 1305 The API has triggered a rate limit"),
    ],
)
async def test_a_refused_question_is_a_failed_query(
    document: Path, sandbox: RunningSandbox, provider: str, kind: FaultKind, text: str
) -> None:
    """What the provider said is passed on, an error within a success included."""
    sandbox.inject(kind, provider, "chat", times=None)
    answer = await ask(document, provider=provider)
    assert answer["metadata"] == {"error_type": "query_failed"}
    assert text in answer["content"]


async def test_a_provider_that_does_not_answer_is_a_timeout(
    document: Path, sandbox: RunningSandbox, set_environment: SetEnvironment
) -> None:
    """The query ends when its time is over."""
    assert (await ask(document))["status"] == "success"
    set_environment(QUERY_TIMEOUT="0.5")
    sandbox.inject(FaultKind.HANG, "kimi", "chat", times=None)
    answer = await ask(document)
    sandbox.clear_faults()
    assert answer["metadata"] == {"error_type": "timeout"}
    assert "kimi did not answer within 0.5 s" in answer["content"]


async def test_parsing_that_does_not_end_is_a_timeout(
    document: Path, sandbox: RunningSandbox, set_environment: SetEnvironment
) -> None:
    """Waiting for the text is part of the query's time."""
    set_environment(QUERY_TIMEOUT="0.5")
    sandbox.inject(FaultKind.UNPARSED, "kimi", "files.retrieve", times=None)
    assert (await ask(document))["metadata"] == {"error_type": "timeout"}


async def test_an_upload_that_does_not_end_is_a_timeout_and_not_repeated_elsewhere(
    document: Path, sandbox: RunningSandbox, set_environment: SetEnvironment
) -> None:
    """The upload may still be in flight, so the other provider is not tried."""
    set_environment(UPLOAD_TIMEOUT="0.5")
    sandbox.inject(FaultKind.LATENCY, "kimi", "files.create", seconds=1.5)
    answer = await ask(document)
    assert answer["metadata"] == {"error_type": "timeout"}
    assert sandbox.requests("glm") == []


@pytest.mark.parametrize("times", [1, 2])
async def test_a_file_that_the_provider_lost_is_uploaded_again(
    document: Path, sandbox: RunningSandbox, times: int
) -> None:
    """A tracked upload that is gone does not stand in the way, however often that happens."""
    for _ in range(times):
        first = await ask(document)
        async with AsyncOpenAI(api_key=sandbox.key, base_url=sandbox.urls["kimi"]) as provider:
            assert (await provider.files.delete(first["metadata"]["file_id"])).deleted
        again = await ask(document)
        assert again["status"] == "success"
        assert again["metadata"]["deduplicated"] is False
        assert file_ids(sandbox, "kimi") == [again["metadata"]["file_id"]]


async def test_a_tracking_table_that_cannot_be_read_costs_only_an_upload(
    document: Path, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """The question is answered all the same."""
    with uploads_db(tmp_path / "home" / "uploads.db").writing() as database:
        database.execute("ALTER TABLE provider_file_uploads RENAME TO something_else")
    assert (await ask(document))["status"] == "success"
    assert len(file_ids(sandbox, "kimi")) == 1


@pytest.mark.parametrize("root", ["inside", "nowhere"])
async def test_a_file_outside_the_allowed_folders_is_refused(
    tmp_path: Path, document: Path, sandbox: RunningSandbox, set_environment: SetEnvironment, root: str
) -> None:
    """Neither a path, nor a detour, nor a link leads out; nothing is read or sent."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.txt").symlink_to(document)
    set_environment(SHIM_ALLOWED_ROOTS=str(tmp_path / root))
    for path in (document, inside / ".." / "birds.txt", inside / "link.txt", "/etc/hostname"):
        answer = await ask(path)
        assert answer["metadata"] == {"error_type": "upload_failed"}
        assert "lies outside the allowed folders" in answer["content"]
    assert sandbox.requests() == []


async def test_without_allowed_folders_the_current_one_is_allowed(
    tmp_path: Path, document: Path, set_environment: SetEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies below the working directory may be asked about, and nothing else."""
    set_environment(SHIM_ALLOWED_ROOTS=None)
    monkeypatch.chdir(tmp_path)
    assert (await ask("birds.txt"))["status"] == "success"
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    assert (await ask(document))["metadata"] == {"error_type": "upload_failed"}


@pytest.mark.parametrize(("name", "text"), [("missing.txt", "File not found"), (".", "is a directory")])
async def test_an_unusable_file_is_a_failed_upload(tmp_path: Path, document: Path, name: str, text: str) -> None:
    """The reason is told."""
    del document
    answer = await ask(tmp_path / name)
    assert answer["metadata"] == {"error_type": "upload_failed"}
    assert text in answer["content"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"question": "x"}, "'file_path' is missing"),
        ({"file_path": "x", "question": "  "}, "'question' is missing"),
        ({"file_path": "x", "question": "x", "provider": "other"}, "choose one of auto, kimi, glm"),
    ],
)
async def test_wrong_arguments_are_a_failed_query(arguments: dict[str, str], text: str) -> None:
    """The caller learns what to change."""
    answer = json.loads(await SmartFileQueryTool().execute(arguments))
    assert answer["metadata"] == {"error_type": "query_failed"}
    assert text in answer["content"]


async def test_half_a_configuration_is_a_failed_upload(document: Path, set_environment: SetEnvironment) -> None:
    """The answer names the variable that is missing."""
    set_environment(SUPABASE_URL="https://project.supabase.co")
    answer = await ask(document)
    assert answer["metadata"] == {"error_type": "upload_failed"}
    assert "SUPABASE_SERVICE_ROLE_KEY: must be set" in answer["content"]


async def test_many_questions_at_once(document: Path, sandbox: RunningSandbox) -> None:
    """Queries do not disturb each other."""
    paths = []
    for number in range(8):
        path = document.with_name(f"{number}.txt")
        path.write_text(f"Title {number}\nPenguins number {number} here.\n")
        paths.append(path)
    answers = await asyncio.gather(*(ask(path) for path in paths))
    for number, answer in enumerate(answers):
        assert f'"Penguins number {number} here."' in answer["content"]
    assert len(file_ids(sandbox, "kimi")) == 8


@pytest.mark.parametrize("module", ["tools.smart_file_query", kimi_files.__name__, glm_files.__name__])
def test_nothing_is_said_about_how_calls_are_routed(module: str) -> None:
    """The caller and the legacy modules do not know who serves their calls."""
    text = Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8").lower()
    for word in ("flag", "migrat", "trace", "shadow", "candidate", "rollout", "telemetry"):
        assert word not in text, word
