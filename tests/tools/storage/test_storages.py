"""What every storage does, whichever side is used."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from tests.tools.storage.rows import ROW
from tools.sandbox import RunningSandbox
from tools.storage import UploadStorage
from tools.storage.local import LocalStorage
from tools.storage.placement import encode_key
from tools.storage.port import BadKeyError, ProviderName

Store = Callable[..., Awaitable[str]]


@pytest.fixture
def contents(storage: UploadStorage, request: pytest.FixtureRequest) -> Callable[[str], bytes | None]:
    """What is really stored at a path, looked at behind the storage's back."""

    def of_folder(path: str) -> bytes | None:
        assert isinstance(storage, LocalStorage)
        file = storage.folder.path_of(path)
        return file.read_bytes() if file.exists() else None

    def of_supabase(path: str) -> bytes | None:
        sandbox: RunningSandbox = request.getfixturevalue("sandbox")
        from httpx import Client  # noqa: PLC0415  # as above
        from storage3.exceptions import StorageApiError  # noqa: PLC0415  # as above
        from supabase import ClientOptions, create_client  # noqa: PLC0415  # needed by half of the tests

        with Client(http2=False) as http:
            client = create_client(sandbox.supabase_url, sandbox.key, ClientOptions(httpx_client=http))
            try:
                return client.storage.from_("user-files").download(encode_key(path))
            except StorageApiError:
                return None

    return of_folder if isinstance(storage, LocalStorage) else of_supabase


@pytest.mark.parametrize(
    "name",
    [
        "plain.txt",
        "no extension",
        'say "hi".txt',
        "it's ünï çødé 漢字 🙂.md",
        "two\nlines\t.txt",
        "100%41=3D+&?#.txt",
        ".hidden",
    ],
)
async def test_a_copy_is_what_was_given(
    storage: UploadStorage, store: Store, contents: Callable[[str], bytes | None], name: str
) -> None:
    """Whatever a file is called, its copy is found under its name and holds its content."""
    data = os.urandom(1000)
    assert await store(storage, f"kimi-gateway/{name}", data)
    assert contents(f"kimi-gateway/{name}") == data


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 3_000_000])
async def test_a_copy_of_any_size(
    storage: UploadStorage, store: Store, contents: Callable[[str], bytes | None], size: int
) -> None:
    """Nothing, one byte and several pieces are stored alike."""
    data = os.urandom(size)
    await store(storage, "kimi-gateway/data.bin", data, None)
    assert contents("kimi-gateway/data.bin") == data


async def test_the_same_content_is_the_same_object(storage: UploadStorage, store: Store) -> None:
    """Storing again changes nothing and answers with the same id."""
    first = await store(storage, "kimi-gateway/a.txt", b"one")
    assert await store(storage, "kimi-gateway/a.txt", b"one") == first


async def test_other_content_of_the_same_name_is_kept_too(
    storage: UploadStorage, store: Store, contents: Callable[[str], bytes | None]
) -> None:
    """A second, different file of the same name replaces nothing, and is found again."""
    first = await store(storage, "kimi-gateway/a.txt", b"one")
    second = await store(storage, "kimi-gateway/a.txt", b"two")
    third = await store(storage, "kimi-gateway/a.txt", b"six")
    assert len({first, second, third}) == 3
    assert contents("kimi-gateway/a.txt") == b"one"
    assert contents("kimi-gateway/a-3fc4ccfe.txt") == b"two"
    assert await store(storage, "kimi-gateway/a.txt", b"two") == second


async def test_both_sides_know_the_same_objects(storage: UploadStorage, store: Store) -> None:
    """What one side stored is the same object for the other."""
    ours = await store(storage, "kimi-gateway/a.txt", b"one")
    assert storage.upload_file("kimi-gateway/a.txt", b"one", "a.txt", None, "user_upload") == ours


async def test_a_path_outside_is_refused(storage: UploadStorage, store: Store) -> None:
    """No name leads out of the storage."""
    with pytest.raises(BadKeyError):
        await store(storage, "kimi-gateway/../../a.txt", b"one")


async def test_a_row_is_found_by_content_and_provider(storage: UploadStorage) -> None:
    """Both sides find what either wrote, and nothing else."""
    storage.record_upload(ROW)
    await storage.record_upload_async(replace(ROW, provider="glm", provider_file_id="file-2"))
    expected: dict[ProviderName, str] = {"kimi": "file-1", "glm": "file-2"}
    for provider, file_id in expected.items():
        found = storage.find_upload(sha256=ROW.sha256, provider=provider)
        assert found is not None
        assert found == await storage.find_upload_async(sha256=ROW.sha256, provider=provider)
        assert (found.provider_file_id, found.filename, found.file_size_bytes) == (file_id, ROW.filename, 3)
        assert found.created_at
    assert storage.find_upload(sha256="b" * 64, provider="kimi") is None
    assert await storage.find_upload_async(sha256="b" * 64, provider="kimi") is None


async def test_only_completed_uploads_are_found(storage: UploadStorage) -> None:
    """What failed or was deleted is not used again."""
    for status in ("pending", "failed", "deleted"):
        storage.record_upload(replace(ROW, provider_file_id=status, upload_status=status))
    assert storage.find_upload(sha256=ROW.sha256, provider="kimi") is None


async def test_a_row_written_again_is_replaced(storage: UploadStorage) -> None:
    """Provider and provider file id name one row."""
    storage.record_upload(ROW)
    await storage.record_upload_async(replace(ROW, upload_status="deleted"))
    assert await storage.find_upload_async(sha256=ROW.sha256, provider="kimi") is None
    storage.record_upload(replace(ROW, filename="renamed.txt"))
    found = storage.find_upload(sha256=ROW.sha256, provider="kimi")
    assert found is not None
    assert found.filename == "renamed.txt"


async def test_the_latest_upload_is_found(storage: UploadStorage) -> None:
    """A file that was uploaded twice is known by its younger upload."""
    storage.record_upload(replace(ROW, created_at="2020-01-01T00:00:00+00:00", provider_file_id="old"))
    storage.record_upload(replace(ROW, created_at="2021-01-01T00:00:00+00:00", provider_file_id="young"))
    storage.record_upload(replace(ROW, created_at="2019-01-01T00:00:00+00:00", provider_file_id="older"))
    found = storage.find_upload(sha256=ROW.sha256, provider="kimi")
    assert found is not None
    assert found.provider_file_id == "young"
