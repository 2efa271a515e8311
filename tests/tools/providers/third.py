"""A third provider, as it would be added: the shape of OpenAI's files API, its legacy functions, and the candidate."""

from __future__ import annotations

import hashlib
from typing import Any

from openai import OpenAI

from tools.engine.batch import upload_files
from tools.engine.gateway import upload_through_gateway
from tools.files import read_regular, validate_upload
from tools.providers.spec import FILE_TYPE, Provider, StandIn, guessed_mime_type, storage_failure
from tools.providers.upload_tool import UploadTool
from tools.settings import get_settings

OPENAI = Provider(
    name="openai",
    label="OpenAI",
    default_purpose="assistants",
    legacy_module=__name__,
    tool="OpenAIUploadFilesTool",
    client_module=__name__,
    candidate_module=__name__,
    stand_in=StandIn(purposes=frozenset({"assistants", "user_data"})),
    api_url="https://api.openai.com/v1",
    model="gpt-5",
)


def _client(timeout: float = 60.0) -> OpenAI:
    settings = get_settings()
    return OpenAI(api_key=OPENAI.key(settings), base_url=OPENAI.address(settings), timeout=timeout)


def send_file(path: Any, purpose: Any) -> str:
    with _client() as client:
        return client.files.create(file=(path.name, read_regular(path)), purpose=purpose).id


def extract_text(_path: Any, file_id: str, *, timeout: float) -> str:
    with _client(timeout) as client:
        return client.files.content(file_id).text


def ask(question: str, text: str, *, model: str, timeout: float) -> str:
    messages: Any = [{"role": "system", "content": text}, {"role": "user", "content": question}]
    with _client(timeout) as client:
        return str(client.chat.completions.create(model=model, messages=messages).choices[0].message.content)


def upload_via_supabase_gateway_openai(file_path: Any, storage: Any, purpose: str = "assistants") -> dict[str, Any]:
    file = validate_upload(file_path, limit=OPENAI.limit(get_settings()))
    data = read_regular(file.path)
    try:
        copy = storage.upload_file(OPENAI.storage_path(file), data, file.name, guessed_mime_type(file.name), FILE_TYPE)
    except Exception as error:
        raise storage_failure(error) from error
    try:
        ids = {"provider_file_id": send_file(file.path, purpose), "supabase_file_id": copy}
    except Exception as error:
        raise OPENAI.failure(error) from error
    storage.record_upload(OPENAI.row(file, **ids, sha256=hashlib.sha256(data).hexdigest()))
    return OPENAI.result(file, **ids)


class OpenAIUploadFilesTool(UploadTool):
    name, gateway, default_purpose = "openai_upload_files", OPENAI, OPENAI.default_purpose

    def _upload(self, file_path: Any, storage: Any, purpose: str) -> str:
        return str(upload_via_supabase_gateway_openai(file_path, storage, purpose)[OPENAI.id_key])


async def upload_via_supabase_gateway_openai_async(file_path: Any, storage: Any, purpose: str = "assistants") -> Any:
    return await upload_through_gateway(OPENAI, file_path, storage, purpose)


async def upload_files_openai_async(tool: UploadTool, files: Any, purpose: str | None = None) -> list[dict[str, Any]]:
    return await upload_files(OPENAI, files, tool.storage, purpose or tool.default_purpose)
