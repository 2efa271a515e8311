from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
import zai.core

from tests.support.monolith import SetEnvironment
from tests.support.traffic import upload_requests
from tests.tools.providers.surface import Provider
from tools.errors import MissingKeyError
from tools.providers.answers import NoFileIdError
from tools.providers.glm.glm_files import upload_via_supabase_gateway_glm
from tools.sandbox import FaultKind, RunningSandbox
from tools.storage import get_storage
from tools.storage.local import LocalStorage
from tools.storage.port import LocalStorageError, StorageRefusedError

pytestmark = pytest.mark.usefixtures("monolith")


def test_an_upload_is_stored_sent_and_tracked(
    provider: Provider, sandbox: RunningSandbox, storage: LocalStorage, document: Path
) -> None:
    """Copy, provider's file and row belong together; the result has the keys that callers know."""
    result = provider.upload(str(document), storage)
    [file] = provider.files(sandbox)
    assert list(result) == [f"{provider.name}_file_id", "supabase_file_id", "filename", "size_bytes", "upload_method"]
    assert result[f"{provider.name}_file_id"] == file["id"]
    assert (result["filename"], result["size_bytes"]) == ("report.txt", document.stat().st_size)
    assert result["upload_method"] == "supabase_gateway"
    digest = hashlib.sha256(document.read_bytes()).hexdigest()
    assert (file["filename"], file["purpose"], file["sha256"]) == ("report.txt", provider.purpose, digest)
    assert storage.folder.path_of(f"{provider.name}-gateway/report.txt").read_bytes() == document.read_bytes()
    row = storage.find_upload(sha256=digest, provider=provider.name)
    assert row is not None
    assert (row.provider_file_id, row.supabase_file_id) == (file["id"], result["supabase_file_id"])
    assert (row.upload_status, row.upload_method) == ("completed", "supabase_gateway")
    assert (row.filename, row.file_size_bytes) == ("report.txt", document.stat().st_size)


def test_the_order_is_storage_provider_row(
    provider: Provider, sandbox: RunningSandbox, set_environment: SetEnvironment, document: Path
) -> None:
    """Nothing goes to the provider before the copy is safe, and nothing is tracked before the provider has it."""
    set_environment(SUPABASE_URL=sandbox.supabase_url, SUPABASE_SERVICE_ROLE_KEY=sandbox.key)
    provider.upload(document, get_storage())
    paths = [request["path"] for request in upload_requests(sandbox)]
    assert paths[0].endswith(f"/object/user-files/{provider.name}-gateway/report.txt")
    assert paths[1].endswith("/files")
    assert paths[2].endswith("/provider_file_uploads")


@pytest.mark.parametrize("name", ['say "hi".txt', "ünï 漢字 🙂.txt", "two\nlines.txt", "back\\slash.txt", "100%.txt"])
def test_a_hostile_name_arrives(
    provider: Provider, sandbox: RunningSandbox, storage: LocalStorage, tmp_path: Path, name: str
) -> None:
    """The provider sees one file with the content given, under a name without folders."""
    document = tmp_path / name
    document.write_bytes(b"content")
    assert provider.upload(document, storage)["filename"] == name
    [file] = provider.files(sandbox)
    assert file["sha256"] == hashlib.sha256(b"content").hexdigest()
    assert str(tmp_path) not in file["filename"]


def test_a_link_is_sent_under_its_own_name(
    provider: Provider, sandbox: RunningSandbox, storage: LocalStorage, document: Path
) -> None:
    """The name is the one the caller used."""
    link = document.with_name("link.txt")
    link.symlink_to(document)
    provider.upload(link, storage)
    assert provider.files(sandbox)[0]["filename"] == "link.txt"


def test_an_unusable_path_sends_nothing(
    provider: Provider, sandbox: RunningSandbox, storage: LocalStorage, tmp_path: Path
) -> None:
    """A missing file, a directory and a pipe end in a ValueError before anything is stored or sent."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "pipe"):
        with pytest.raises(ValueError, match=str(path)):
            provider.upload(path, storage)
    assert sandbox.requests() == []
    assert not storage.folder.root.exists()


def test_the_limit_is_configurable_and_exact(
    provider: Provider, storage: LocalStorage, document: Path, set_environment: SetEnvironment
) -> None:
    """A file of exactly the limit passes, one byte more does not; the setting is read at each call."""
    size = document.stat().st_size
    set_environment(**{f"{provider.name.upper()}_MAX_BYTES": str(size - 1)})
    with pytest.raises(ValueError, match=f"the limit is {size - 1} bytes"):
        provider.upload(document, storage)
    set_environment(**{f"{provider.name.upper()}_MAX_BYTES": str(size)})
    assert provider.upload(document, storage)["size_bytes"] == size


def test_an_unreadable_file_sends_nothing(
    provider: Provider, sandbox: RunningSandbox, storage: LocalStorage, document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's own error reaches the caller."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(document))

    monkeypatch.setattr(provider.module, "read_regular", refuse)  # who runs the tests may be allowed to read everything
    with pytest.raises(PermissionError, match="Permission denied"):
        provider.upload(document, storage)
    assert sandbox.requests() == []


def test_a_failing_storage_sends_nothing_to_the_provider(
    provider: Provider, sandbox: RunningSandbox, document: Path, tmp_path: Path
) -> None:
    """The text says that it was the storage, the cause says why."""
    (tmp_path / "in the way").write_text("")
    with pytest.raises(RuntimeError, match=r"^Failed to upload to Supabase: store ") as failed:
        provider.upload(document, LocalStorage(tmp_path / "in the way"))
    assert isinstance(failed.value.__cause__, LocalStorageError)
    assert sandbox.requests() == []


def test_a_refusing_supabase_is_told_in_its_words(
    provider: Provider, sandbox: RunningSandbox, document: Path, set_environment: SetEnvironment
) -> None:
    """What Supabase said is in the text."""
    set_environment(SUPABASE_URL=sandbox.supabase_url, SUPABASE_SERVICE_ROLE_KEY=sandbox.key)
    sandbox.inject(FaultKind.SERVER_ERROR, "supabase", "object.upload")
    with pytest.raises(RuntimeError, match=r"^Failed to upload to Supabase: .*Internal Server Error$") as failed:
        provider.upload(document, get_storage())
    assert isinstance(failed.value.__cause__, StorageRefusedError)


def test_a_refusing_provider_is_told_in_the_sdks_words(
    provider: Provider, sandbox: RunningSandbox, storage: LocalStorage, document: Path
) -> None:
    """The text carries the SDK's own, the cause is the SDK's error; the copy stays, no row is written."""
    with pytest.raises(RuntimeError) as failed:
        provider.upload(document, storage, purpose="nonsense")
    cause = failed.value.__cause__
    assert isinstance(cause, openai.APIError | zai.core.ZaiError)
    assert str(failed.value) == f"Failed to upload to {provider.label} via SDK: {cause}"
    assert provider.files(sandbox) == []
    assert storage.folder.path_of(f"{provider.name}-gateway/report.txt").exists()
    digest = hashlib.sha256(document.read_bytes()).hexdigest()
    assert storage.find_upload(sha256=digest, provider=provider.name) is None


def test_the_sdk_retries_as_it_does(
    provider: Provider, sandbox: RunningSandbox, storage: LocalStorage, document: Path
) -> None:
    """An overload that passes is not seen by the caller."""
    sandbox.inject(FaultKind.OVERLOADED, provider.name, "files.create", retry_after=0)
    assert provider.upload(document, storage)
    assert len(sandbox.requests(provider.name)) == 2


def test_an_error_within_a_success_is_an_error(sandbox: RunningSandbox, storage: LocalStorage, document: Path) -> None:
    """GLM's overload with status 200 is never taken for an upload."""
    sandbox.inject(FaultKind.ERROR_IN_SUCCESS, "glm")
    with pytest.raises(RuntimeError, match=r"^Failed to upload to GLM via SDK: .* no file id: 1305 ") as failed:
        upload_via_supabase_gateway_glm(document, storage)
    assert isinstance(failed.value.__cause__, NoFileIdError)


def test_a_missing_key_names_its_variable(
    provider: Provider, storage: LocalStorage, document: Path, set_environment: SetEnvironment
) -> None:
    """The user learns what to set."""
    variable = f"{provider.name.upper()}_API_KEY"
    set_environment(**{variable: None})
    with pytest.raises(RuntimeError, match=f"^Failed to upload to {provider.label} via SDK: {variable} ") as failed:
        provider.upload(document, storage)
    assert isinstance(failed.value.__cause__, MissingKeyError)


def test_a_row_that_cannot_be_written_is_logged_and_the_upload_stands(
    provider: Provider,
    sandbox: RunningSandbox,
    storage: LocalStorage,
    document: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The file is at the provider, so the caller gets its id; the log names what is not tracked."""
    storage.folder.prepare()
    with sqlite3.connect(storage.folder.root / "uploads.db") as connection:
        connection.execute("CREATE TABLE provider_file_uploads (something_else TEXT)")
    connection.close()
    with caplog.at_level(logging.ERROR):
        result = provider.upload(document, storage)
    [file] = provider.files(sandbox)
    assert result[f"{provider.name}_file_id"] == file["id"]
    assert file["id"] in caplog.text


def test_many_threads_upload_at_once(
    provider: Provider, sandbox: RunningSandbox, storage: LocalStorage, tmp_path: Path
) -> None:
    """Calls share nothing, so none disturbs another."""
    paths = []
    for number in range(12):
        path = tmp_path / f"{number}.txt"
        path.write_text(f"content {number}")
        paths.append(path)
    with ThreadPoolExecutor(6) as threads:
        results = list(threads.map(lambda path: provider.upload(path, storage), paths))
    ids = {result[f"{provider.name}_file_id"] for result in results}
    assert ids == {file["id"] for file in provider.files(sandbox)}
    assert len(ids) == 12
