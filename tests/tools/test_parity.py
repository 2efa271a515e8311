"""Legacy against the asynchronous implementation: to a caller they are the same function.

Every case runs legacy itself, the new implementation itself, and both behind the shim; interception is asserted, so a
shim that is bypassed fails.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import tools.async_file_upload_refactored as new
from migration import Runtime, Side, install, uninstall
from migration.testing import FixedRouter, RecordingObserver
from tests.support.traffic import upload_requests
from tests.tools.parity import PROVIDERS, Meddling, Provider, content, outcome_of, run_new, shimmed
from tools.migrations import MIGRATIONS
from tools.providers.glm import glm_files
from tools.providers.kimi import kimi_files
from tools.sandbox import RunningSandbox
from tools.settings import Settings, get_settings, use_settings
from tools.storage import get_storage
from tools.storage.port import UploadStorage

LIMIT = 4096


def regular(name: str, size: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content(size))
        return path

    return make


def directory(folder: Path) -> Path:
    path = folder / "a-directory.txt"
    path.mkdir()
    return path


def symlink(folder: Path) -> Path:
    (folder / "target.txt").write_bytes(content(100))
    path = folder / "link.txt"
    path.symlink_to(folder / "target.txt")
    return path


def dangling(folder: Path) -> Path:
    path = folder / "dangling.txt"
    path.symlink_to(folder / "gone.txt")
    return path


def loop_of_links(folder: Path) -> Path:
    path = folder / "loop.txt"
    path.symlink_to(path)
    return path


def fifo(folder: Path) -> Path:
    path = folder / "pipe.txt"
    os.mkfifo(path)
    return path


CASES: dict[str, Callable[[Path], Path | str]] = {
    "ordinary text": regular("notes.txt", 1000),
    "ordinary markdown": regular("README.md", 2000),
    "binary with an unknown extension": regular("data.xyzzy", 300),
    "no extension": regular("LICENSE", 300),
    "empty": regular("empty.txt", 0),
    "one byte": regular("one.txt", 1),
    "exactly at the limit": regular("full.txt", LIMIT),
    "one over the limit": regular("over.txt", LIMIT + 1),
    "UTF-8 name": regular("Größe 文件 🙂.txt", 50),
    "quotes in the name": regular("a \"quoted\" 'name'.txt", 50),
    "backslash and percent": regular("100%\\done.txt", 50),
    "newline in the name": regular("two\nlines.txt", 50),
    "semicolon and equals": regular("a;b=c.txt", 50),
    "leading dot": regular(".hidden.txt", 50),
    "a name of 255 bytes": regular("n" * 251 + ".txt", 50),
    "missing": lambda folder: folder / "missing.txt",
    "missing folder": lambda folder: folder / "no" / "file.txt",
    "empty path": lambda _folder: "",
    "NUL in the path": lambda folder: f"{folder}/a\0b.txt",
    "directory": directory,
    "symlink": symlink,
    "dangling symlink": dangling,
    "loop of symlinks": loop_of_links,
    "FIFO": fifo,
    "device": lambda _folder: "/dev/zero",
    "unreadable": lambda _folder: "/proc/self/mem",
}


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(params=["embedded", "supabase"])
def storage(request: pytest.FixtureRequest, sandbox: RunningSandbox, folder: Path) -> Iterator[UploadStorage]:
    supabase: dict[str, Any] = {"supabase_url": sandbox.supabase_url, "supabase_service_role_key": "sb_secret_test"}
    settings = Settings(
        kimi_api_url=sandbox.urls["kimi"],
        glm_api_url=sandbox.urls["glm"],
        kimi_api_key="kimi-key",
        glm_api_key="glm-key",
        kimi_max_bytes=LIMIT,
        glm_max_bytes=LIMIT,
        shim_home=folder / "state",
        **(supabase if request.param == "supabase" else {}),
    )
    with use_settings(settings):
        yield get_storage()


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
@pytest.mark.parametrize("case", CASES)
def test_both_do_the_same_for(case: str, provider: Provider, storage: UploadStorage, folder: Path) -> None:
    """Same return keys and values (the provider's id apart), same exception type and text, four ways."""
    path = CASES[case](folder)
    legacy = outcome_of(lambda: provider.legacy(path, storage, provider.purpose))
    candidate = outcome_of(lambda: run_new(provider, path, storage, provider.purpose))
    assert candidate == legacy

    with shimmed(provider) as seen:
        function = getattr(provider.module, provider.function)
        for side in Side:
            seen.router.serve = side
            assert outcome_of(lambda: function(path, storage, provider.purpose)) == legacy
            assert outcome_of(lambda: asyncio.run(function.aio(path, storage, purpose=provider.purpose))) == legacy
        assert seen.observer.served() == [Side.LEGACY, Side.LEGACY, Side.CANDIDATE, Side.CANDIDATE]
        assert seen.router.asked == 4


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_the_shim_stands_in_front_of_the_name_that_callers_use(provider: Provider) -> None:
    """While installed, the module's function is the shim, keeps its signature, and has an asynchronous twin."""
    with shimmed(provider):
        function = getattr(provider.module, provider.function)
        assert function is not provider.legacy
        assert inspect.signature(function) == inspect.signature(provider.legacy)
        assert inspect.iscoroutinefunction(getattr(provider.module, f"{provider.function}_async"))
    assert getattr(provider.module, provider.function) is provider.legacy


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_signatures_are_the_same(provider: Provider) -> None:
    """The replacement takes what legacy takes, under the same names and with the same defaults."""
    legacy, candidate = inspect.signature(provider.legacy), inspect.signature(provider.new)
    assert [(p.name, p.default, p.kind) for p in legacy.parameters.values()] == [
        (p.name, p.default, p.kind) for p in candidate.parameters.values()
    ]


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_a_file_that_may_not_be_read(provider: Provider, storage: UploadStorage, folder: Path) -> None:
    """Without the permission to read, both raise the same, and nothing is sent."""
    path = folder / "secret.txt"
    path.write_bytes(b"x")
    path.chmod(0)
    folder.chmod(0o755)
    with unprivileged():
        legacy = outcome_of(lambda: provider.legacy(str(path), storage, provider.purpose))
        candidate = outcome_of(lambda: run_new(provider, str(path), storage, provider.purpose))
    assert legacy[0] is PermissionError
    assert candidate == legacy


@pytest.mark.parametrize("size", [1000, 300_000], ids=["short", "long"])
@pytest.mark.parametrize("meddling", ["vanishing", "growing"])
@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_a_file_that_changes_meanwhile(
    provider: Provider, meddling: str, size: int, storage: UploadStorage, folder: Path
) -> None:
    """A file that vanishes or grows between the copy and the upload ends the same for the caller."""
    path = folder / "restless.txt"

    def meddle() -> None:
        if meddling == "vanishing":
            path.unlink()
        else:
            with path.open("ab") as file:
                file.write(b"more")

    outcomes = []
    with use_settings(get_settings().model_copy(update={"kimi_max_bytes": 10**6, "glm_max_bytes": 10**6})):
        for run in (provider.legacy, lambda *args: run_new(provider, *args)):
            path.write_bytes(content(size))
            outcomes.append(outcome_of(lambda run=run: run(path, Meddling(storage, meddle), provider.purpose)))  # type: ignore[misc]  # bound at once
    assert outcomes[0] == outcomes[1]


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may read everything, so root steps down to `nobody` meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_what_reaches_the_provider_is_the_same(
    provider: Provider, storage: UploadStorage, folder: Path, sandbox: RunningSandbox
) -> None:
    """Both send the same requests in the same order, with the same parts, names and bytes."""
    path = folder / 'Über "alles".txt'
    path.write_bytes(content(3000))
    seen = []
    for run in (provider.legacy, lambda *args: run_new(provider, *args)):
        before = len(upload_requests(sandbox))
        run(str(path), storage, provider.purpose)
        seen.append([comparable(request) for request in upload_requests(sandbox)[before:]])
        sandbox.reset()
    assert seen[0] == seen[1]
    assert any(request.get("sha256") for request in seen[0]) or seen[0]


def comparable(request: dict[str, Any]) -> dict[str, Any]:
    """A logged request without what may differ: clocks, agents, connection handling, the form's random boundary.

    Storage takes an object as a form or as it is; there, the content is compared.
    """
    names = ("service", "operation", "method", "path", "parts")
    seen: dict[str, Any] = {name: request[name] for name in names if name in request}
    if request["operation"] == "object.upload":
        in_form = [part["sha256"] for part in seen.pop("parts") if part["filename"]]
        seen["sha256"] = in_form or [request["body_sha256"]]
    return seen


@pytest.mark.parametrize("tool_class", [kimi_files.KimiUploadFilesTool, glm_files.GLMUploadFileTool])
def test_the_tools_do_the_same_behind_the_shim(tool_class: Any, storage: UploadStorage, folder: Path) -> None:
    """`_run`, `run`, their twins and `execute` give the same entries whichever side serves."""
    module = sys.modules[tool_class.__module__]
    targets = [target for target in MIGRATIONS if target.startswith(module.__name__) and "Tool" in target]
    router, observer = FixedRouter(), RecordingObserver()
    runtime = Runtime(router=router, observers=[observer])
    runtime.loop.on_close(new.cleanup_http_session)
    results: dict[Side, list[Any]] = {}
    for target in targets:
        install(target, MIGRATIONS[target], runtime=runtime)
    try:
        for side in Side:
            router.serve = side
            one, two = folder / f"{side}-1.txt", folder / f"{side}-2.txt"
            one.write_text(f"{side} one")
            two.write_text(f"{side} two")
            tool = tool_class(storage)
            entries = tool._run(files=[str(one), str(two), str(one)])
            single = tool.run(file=str(two))
            twin = asyncio.run(tool._run_async(files=[str(one)]))
            other = asyncio.run(tool.run_async(file=str(two)))
            executed = asyncio.run(tool.execute({"files": [str(one)]}))
            assert [entry["file_id"] for entry in entries] == [
                entries[0]["file_id"],
                single["file_id"],
                entries[0]["file_id"],
            ]
            assert [entry["deduplicated"] for entry in entries] == [False, False, True]
            results[side] = [
                [sorted(entry) for entry in entries],
                sorted(single),
                [entry["deduplicated"] for entry in twin],
                other["deduplicated"],
                "deduplicated" in executed,
            ]
            with pytest.raises(ValueError, match="File not found"):
                tool._run(files=[str(one), str(folder / "missing.txt")])
    finally:
        runtime.close()
        for target in targets:
            uninstall(target)
    assert results[Side.LEGACY] == results[Side.CANDIDATE]
    assert set(observer.served()) == set(Side)
