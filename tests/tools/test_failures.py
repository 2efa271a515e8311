"""The same failure is of the same kind on both sides, whichever client meets it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import importlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from zai import ZaiClient

import tools.async_file_upload_refactored as new
from migration import Runtime, Side
from migration.model import ErrorKind
from migration.routing import Shim
from migration.testing import FixedRouter, RecordingObserver
from tools.engine import delivery, throttle
from tools.migrations import MIGRATIONS
from tools.providers.glm import glm_client
from tools.providers.kimi import kimi_client
from tools.providers.spec import GLM, KIMI
from tools.sandbox import Fault, FaultKind, InvalidFaultError, RunningSandbox
from tools.settings import Settings, use_settings
from tools.storage import get_storage

SECONDS = 0.5
SIZE = 6_000_000  # more than a connection's buffers, so that a server can stop reading
FUNCTIONS = {
    "kimi": "tools.providers.kimi.kimi_files:upload_via_supabase_gateway_kimi",
    "glm": "tools.providers.glm.glm_files:upload_via_supabase_gateway_glm",
}

EXPECTED: dict[str, ErrorKind | None] = {
    FaultKind.RATE_LIMITED: ErrorKind.RATE_LIMITED,
    FaultKind.OVERLOADED: ErrorKind.RATE_LIMITED,
    FaultKind.QUOTA_EXCEEDED: ErrorKind.RATE_LIMITED,
    FaultKind.SERVER_ERROR: ErrorKind.SERVER_FAILED,
    FaultKind.GATEWAY_TIMEOUT: ErrorKind.SERVER_FAILED,
    FaultKind.ERROR_IN_SUCCESS: ErrorKind.BAD_ANSWER,
    FaultKind.RESET_MID_BODY: ErrorKind.CONNECTION_LOST,
    FaultKind.STALL_MID_BODY: ErrorKind.TIMEOUT,
    FaultKind.DROP_AFTER_COMMIT: ErrorKind.CONNECTION_LOST,
    FaultKind.HANG: ErrorKind.TIMEOUT,
    FaultKind.LATENCY: ErrorKind.TIMEOUT,
    FaultKind.SLOW_PARSING: None,  # these strike after the upload
    FaultKind.UNPARSED: None,
    FaultKind.PARSING_FAILS: None,
    FaultKind.CONTENT_AS_TEXT: None,
}


def _closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides give up after the first attempt and half a second: how often they try is not what is looked at."""
    throttle.forget_throttles()
    monkeypatch.setattr(kimi_client, "OpenAI", functools.partial(openai.OpenAI, max_retries=0))
    monkeypatch.setattr(kimi_client, "DEFAULT_TIMEOUT", SECONDS)
    monkeypatch.setattr(glm_client, "ZaiClient", functools.partial(ZaiClient, max_retries=0))
    monkeypatch.setattr(glm_client, "ZAI_DEFAULT_TIMEOUT", SECONDS)
    monkeypatch.setattr(new, "KIMI", dataclasses.replace(KIMI, sdk=dataclasses.replace(KIMI.sdk, retries=0)))
    monkeypatch.setattr(new, "GLM", dataclasses.replace(GLM, sdk=dataclasses.replace(GLM.sdk, retries=0)))
    monkeypatch.setattr(delivery, "_SECOND_LOOK_SECONDS", 0.0)


Kinds = dict[str, ErrorKind | None]
Upload = Callable[..., Kinds]


@pytest.fixture
def settings(sandbox: RunningSandbox, tmp_path: Path) -> Settings:
    return Settings(
        kimi_api_url=sandbox.urls["kimi"],
        kimi_api_key="k",
        glm_api_url=sandbox.urls["glm"],
        glm_api_key="k",
        upload_timeout=SECONDS,
        upload_connect_timeout=SECONDS,
        shim_home=tmp_path / "state",
    )


@pytest.fixture
def kinds(tmp_path: Path, say: Callable[[str], None]) -> Iterator[Upload]:
    """Uploads four ways (either side, calling and awaiting) and says of which kind the failure was each time."""
    observer, router = RecordingObserver(), FixedRouter()
    runtime = Runtime(router=router, observers=[observer])
    runtime.loop.on_close(new.cleanup_http_session)

    def upload(provider: str, settings: Settings, file: Path | None = None) -> Kinds:
        target = FUNCTIONS[provider]
        module, _, name = target.partition(":")
        shim: Shim[..., Any] = Shim(MIGRATIONS[target], getattr(importlib.import_module(module), name), runtime)
        path = file or tmp_path / "file.txt"
        if file is None:
            path.write_bytes(b"0123456789abcde\n" * (SIZE // 16))
        found: Kinds = {}
        with use_settings(settings):
            for side in Side:
                router.serve = side
                ways: dict[str, Callable[..., object]] = {
                    "call": shim,
                    "await": lambda *args: asyncio.run(shim.aio(*args)),
                }
                for way, call in ways.items():
                    observer.operations.clear()
                    with contextlib.suppress(ValueError, OSError, RuntimeError):
                        call(path, get_storage())
                    run = next(done for done in observer.operations if done.side is side)
                    assert run.outcome is not None
                    assert (run.outcome.error is None) == (run.outcome.error_kind is None)
                    found[f"{side} {way}"] = run.outcome.error_kind
        say(", ".join(f"{way} {kind}" for way, kind in found.items()))
        return found

    yield upload
    runtime.close()


def _faults() -> Iterator[tuple[str, FaultKind]]:
    for provider in FUNCTIONS:
        for kind in FaultKind:
            with contextlib.suppress(InvalidFaultError):
                Fault(kind=kind, service=provider)
                yield provider, kind


@pytest.mark.parametrize(("provider", "fault"), list(_faults()))
def test_a_fault_of_a_provider_is_one_kind(
    provider: str,
    fault: FaultKind,
    settings: Settings,
    sandbox: RunningSandbox,
    kinds: Upload,
) -> None:
    """Through every fault switch: legacy and candidate, called and awaited, fail in the same kind, or not at all."""
    sandbox.inject(fault, provider, times=None, seconds=30.0)
    found = kinds(provider, settings)
    assert set(found.values()) == {EXPECTED[fault]}, found


@pytest.mark.parametrize("provider", FUNCTIONS)
@pytest.mark.parametrize("address", ["no server listens", "no such name"])
def test_a_provider_that_cannot_be_reached(provider: str, address: str, settings: Settings, kinds: Upload) -> None:
    """A refused connection, and a name that does not resolve, are connections never made."""
    url = f"http://127.0.0.1:{_closed_port()}" if address == "no server listens" else "http://no-such-name.invalid"
    found = kinds(provider, settings.model_copy(update={f"{provider}_api_url": url}))
    assert set(found.values()) == {ErrorKind.CONNECTION}, found


STORAGE: dict[FaultKind | None, ErrorKind] = {
    FaultKind.RATE_LIMITED: ErrorKind.RATE_LIMITED,
    FaultKind.SERVER_ERROR: ErrorKind.SERVER_FAILED,
    FaultKind.OVERLOADED: ErrorKind.SERVER_FAILED,
    FaultKind.DROP_AFTER_COMMIT: ErrorKind.CONNECTION_LOST,
    None: ErrorKind.CONNECTION,  # no server listens
}


@pytest.mark.parametrize("fault", STORAGE)
def test_a_fault_of_the_storage_is_one_kind(
    fault: FaultKind | None,
    settings: Settings,
    sandbox: RunningSandbox,
    kinds: Upload,
) -> None:
    """Also when it is the copy that fails."""
    url = sandbox.supabase_url if fault else f"http://127.0.0.1:{_closed_port()}"
    if fault:
        sandbox.inject(fault, "supabase", times=None)
    supabase = {"supabase_url": url, "supabase_service_role_key": "sb_secret_test", "upload_timeout": 5.0}
    found = kinds("kimi", Settings(**{**settings.model_dump(), **supabase}))
    assert set(found.values()) == {STORAGE[fault]}, found


def test_what_the_caller_did_wrong(settings: Settings, tmp_path: Path, kinds: Upload) -> None:
    """A missing file, a folder, and a missing key."""
    assert set(kinds("kimi", settings, tmp_path / "missing.txt").values()) == {ErrorKind.BAD_INPUT}
    assert set(kinds("kimi", settings, tmp_path).values()) == {ErrorKind.BAD_INPUT}
    keyless = settings.model_copy(update={"glm_api_key": None})
    assert set(kinds("glm", keyless).values()) == {ErrorKind.UNAUTHORISED}
