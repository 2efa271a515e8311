"""The providers of files APIs: everything in which they differ, and the one registry that the rest of the code reads.

A provider is added by one `register(Provider(...))` and a module with its legacy functions; nothing else names it.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib import import_module
from types import MappingProxyType
from typing import Any, Protocol

from pydantic import SecretStr

from shim.http.redaction import RedactedText
from tools.errors import UnknownProviderError
from tools.providers.answers import error_kinds, required_key
from tools.providers.sdk import OPENAI, ZAI, Sdk
from tools.providers.stand_in import GLM_STAND_IN, KIMI_STAND_IN, StandIn
from tools.settings import MEGABYTE, Settings, provider_settings
from tools.storage.port import UploadRow, UploadStorage

__all__ = [
    "FILE_TYPE",
    "GLM",
    "KIMI",
    "PROVIDERS",
    "UPLOAD_METHOD",
    "FilesApi",
    "NamedFile",
    "Provider",
    "StandIn",
    "guessed_mime_type",
    "provider",
    "register",
    "storage_failure",
    "unregister",
]

UPLOAD_METHOD = "supabase_gateway"
FILE_TYPE = "user_upload"


class NamedFile(Protocol):
    """A file, as far as results and rows speak of it."""

    @property
    def name(self) -> str:
        """Its name without the folder."""
        ...

    @property
    def size(self) -> int:
        """Its length in bytes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesApi:
    """What a provider's files API offers, and what its answers mean. The defaults are the shape of OpenAI's.

    Attributes:
        pages: the listing is filtered by purpose and comes in pages.
        describes_one: `GET /files/{id}` tells about one file; otherwise only the listing does.
        returns_text: `GET /files/{id}/content` gives back what the provider read out of the file.
        unfinished: values of a file's `status` as long as the provider still reads it.
        refused_for_good: types or codes of a 429 after which a retry does not help: the quota is used up.
        overloaded: codes of an error within an answer with a status of success that mean an overload.
    """

    pages: bool = False
    describes_one: bool = True
    returns_text: bool = True
    unfinished: frozenset[str] = frozenset({"created", "processing", "uploading", "pending"})
    refused_for_good: frozenset[str] = frozenset({"insufficient_quota"})
    overloaded: frozenset[str] = frozenset()

    def refuses_for_good(self, status: int | None, body: bytes | str) -> bool:
        """Whether this answer is a 429 after which a retry does not help. Nothing was made, and nothing would be."""
        return status == HTTPStatus.TOO_MANY_REQUESTS and not self.refused_for_good.isdisjoint(error_kinds(body))

    def refuses_in_success(self, body: bytes | str) -> bool:
        """Whether this answer with a status of success says that the provider is overloaded."""
        return not self.overloaded.isdisjoint(error_kinds(body))


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider.

    Each has four settings, `NAME_API_KEY`, `NAME_API_URL`, `NAME_MODEL` and `NAME_MAX_BYTES`; `api_url`, `model` and
    `max_bytes` are the defaults of a provider whose settings are not fields of `tools.settings.Settings`.

    Attributes:
        name: in the tracking table, in storage paths, in the result's keys, in names of settings and functions.
        label: in messages.
        default_purpose: what a file is for, unless the caller says otherwise.
        legacy_module: has `upload_via_supabase_gateway_NAME` and the tool.
        tool: name of the class of the upload tool.
        client_module: has `send_file`, `extract_text` and `ask`, on the vendor's SDK.
        candidate_module: has `upload_via_supabase_gateway_NAME_async`, `upload_files_NAME_async` and
            `upload_file_NAME_async`.
        sdk: how the vendor's SDK behaves.
        files: how the files API behaves.
        stand_in: how the sandbox plays it.
    """

    name: str
    label: str
    default_purpose: str
    legacy_module: str
    tool: str
    client_module: str
    candidate_module: str = "tools.async_file_upload_refactored"
    sdk: Sdk = OPENAI
    files: FilesApi = field(default_factory=FilesApi)
    stand_in: StandIn
    api_url: str = ""
    model: str = ""
    max_bytes: int = 100 * MEGABYTE

    # settings

    @property
    def key_variable(self) -> str:
        """The environment variable that holds the key."""
        return f"{self.name.upper()}_API_KEY"

    def _setting(self, settings: Settings, what: str) -> Any:
        """A field of the settings, else a variable of the environment, else the default given here."""
        field_name = f"{self.name}_{what}"
        if hasattr(settings, field_name):
            return getattr(settings, field_name)
        given = getattr(provider_settings(self.name), what)
        return getattr(self, what, None) if given is None else given

    def secret(self, settings: Settings) -> SecretStr | None:
        """The configured key, if there is one."""
        key: SecretStr | None = self._setting(settings, "api_key")
        return key

    def key(self, settings: Settings) -> str:
        """The configured key in plain text.

        Raises:
            MissingKeyError: none is configured; the error names the variable to set.
        """
        return required_key(self.secret(settings), self.key_variable)

    def address(self, settings: Settings) -> str:
        """Base address of the API. Uploads to another one are of another account."""
        return str(self._setting(settings, "api_url"))

    def limit(self, settings: Settings) -> int:
        """The largest file, in bytes."""
        return int(self._setting(settings, "max_bytes"))

    def default_model(self, settings: Settings) -> str:
        """The model that is asked unless another is named."""
        return str(self._setting(settings, "model"))

    @property
    def address_setting(self) -> str:
        """The name under which another address is put into a copy of the settings."""
        return f"{self.name}_api_url"

    @property
    def key_setting(self) -> str:
        """The name under which another key is put into a copy of the settings."""
        return f"{self.name}_api_key"

    # requests

    def files_address(self, settings: Settings) -> str:
        """Where files are posted and listed."""
        return f"{self.address(settings)}/files"

    def headers(self, settings: Settings) -> dict[str, str]:
        """Headers of every request.

        Raises:
            MissingKeyError: no key is configured.
        """
        key = self.key(settings)
        return {"Accept": "application/json", "Authorization": RedactedText(f"Bearer {key}"), **self.sdk.extra_headers}

    # results, rows and messages

    @property
    def id_key(self) -> str:
        """Key of the provider's file id in results."""
        return f"{self.name}_file_id"

    @property
    def folder(self) -> str:
        """The folder of its copies in the storage."""
        return f"{self.name}-gateway"

    def storage_path(self, file: NamedFile) -> str:
        """Where the storage keeps the file."""
        return f"{self.folder}/{file.name}"

    def result(self, file: NamedFile, *, provider_file_id: str, supabase_file_id: str) -> dict[str, Any]:
        """What the public upload function returns."""
        return {
            self.id_key: provider_file_id,
            "supabase_file_id": supabase_file_id,
            "filename": file.name,
            "size_bytes": file.size,
            "upload_method": UPLOAD_METHOD,
        }

    def row(self, file: NamedFile, *, provider_file_id: str, supabase_file_id: str, sha256: str) -> UploadRow:
        """What the tracking table remembers of a completed upload."""
        return UploadRow(
            provider=self.name,
            provider_file_id=provider_file_id,
            supabase_file_id=supabase_file_id,
            sha256=sha256,
            filename=file.name,
            file_size_bytes=file.size,
            upload_status="completed",
            upload_method=UPLOAD_METHOD,
        )

    def failure(self, error: Exception | str) -> RuntimeError:
        """The error that callers get when the provider did not take the file."""
        return RuntimeError(f"Failed to upload to {self.label} via SDK: {error}")

    def unrecorded(self, provider_file_id: str) -> str:
        """What the log says when the row could not be written; the upload is complete all the same."""
        return f"{self.label} took the file as {provider_file_id}, but its row could not be written"

    # the legacy functions, imported when they are needed: one that cannot be imported fails its own callers alone

    @property
    def function(self) -> str:
        """Name of the public upload function."""
        return f"upload_via_supabase_gateway_{self.name}"

    @property
    def migration(self) -> str:
        """Name of the migration of its functions, which is the name of the flag."""
        return f"async-upload-{self.name}"

    @property
    def client(self) -> Any:
        """The module that speaks to the provider through the vendor's SDK."""
        return import_module(self.client_module)

    def upload(self, file_path: Any, storage: UploadStorage, purpose: str | None = None) -> dict[str, Any]:
        """Call the public upload function, as its module has it at this moment."""
        function = getattr(import_module(self.legacy_module), self.function)
        result: dict[str, Any] = function(file_path, storage, purpose or self.default_purpose)
        return result

    def upload_tool(self, storage: UploadStorage | None = None) -> Any:
        """A new upload tool."""
        return getattr(import_module(self.legacy_module), self.tool)(storage)


def storage_failure(error: Exception) -> RuntimeError:
    """The error that callers get when the copy could not be stored."""
    return RuntimeError(f"Failed to upload to Supabase: {error}")


def guessed_mime_type(name: str) -> str | None:
    """The type that a file's name suggests."""
    return mimetypes.guess_type(name)[0]


# The registry.

KIMI = Provider(
    name="kimi",
    label="Kimi",
    default_purpose="file-extract",
    legacy_module="tools.providers.kimi.kimi_files",
    tool="KimiUploadFilesTool",
    client_module="tools.providers.kimi.kimi_client",
    files=FilesApi(refused_for_good=frozenset({"exceeded_current_quota_error"})),
    stand_in=KIMI_STAND_IN,
)

GLM = Provider(
    name="glm",
    label="GLM",
    default_purpose="agent",
    legacy_module="tools.providers.glm.glm_files",
    tool="GLMUploadFileTool",
    client_module="tools.providers.glm.glm_client",
    sdk=ZAI,
    files=FilesApi(
        pages=True,  # documented for a sibling service only
        describes_one=False,
        returns_text=False,
        refused_for_good=frozenset({"1113"}),  # no balance
        overloaded=frozenset({"1302", "1303", "1305"}),  # too many at once, too often, too much in all
    ),
    stand_in=GLM_STAND_IN,
)

_registered: dict[str, Provider] = {each.name: each for each in (KIMI, GLM)}

PROVIDERS: Mapping[str, Provider] = MappingProxyType(_registered)
"""The providers by name, in the order in which `auto` asks them."""


def provider(name: str) -> Provider:
    """The provider with this name.

    Raises:
        UnknownProviderError: there is none; the error lists the known ones.
    """
    try:
        return PROVIDERS[name]
    except KeyError:
        raise UnknownProviderError(name, tuple(PROVIDERS)) from None


def register(added: Provider) -> Provider:
    """Add a provider to the registry, or replace the one of this name."""
    _registered[added.name] = added
    return added


def unregister(name: str) -> None:
    """Take a provider out of the registry, if it is there."""
    _registered.pop(name, None)
