"""Whatever goes wrong at a provider: callers learn what is declared here; recovery leaves one file or none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import openai._base_client
import pytest
import zai.core._http_client
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from migration import Runtime, Side, install, uninstall
from migration.testing import FixedRouter
from tests.tools.recovery.bench import Bench
from tests.tools.recovery.conftest import MakeBench
from tools.async_file_upload_refactored import cleanup_http_session
from tools.engine import delivery, throttle
from tools.journal.port import UploadSide
from tools.migrations import MIGRATIONS
from tools.providers.glm import glm_client, glm_files
from tools.providers.kimi import kimi_client, kimi_files
from tools.providers.sdk import Sdk
from tools.sandbox import Fault, FaultKind, InvalidFaultError
from tools.storage.port import ProviderName

MODULES: dict[ProviderName, Any] = {"kimi": kimi_files, "glm": glm_files}
PATIENCE_SECONDS = 1.0
CALLERS = ("sync", "async")

FAILS: dict[FaultKind, set[UploadSide]] = {
    FaultKind.QUOTA_EXCEEDED: {UploadSide.ASYNC},  # legacy asks again, though no patience helps; here it does
    FaultKind.ERROR_IN_SUCCESS: {UploadSide.LEGACY, UploadSide.ASYNC},
}
"""Who tells the caller of a failure that happens once; after all others it is sent again, or found."""


def possible(provider: ProviderName, kind: FaultKind) -> bool:
    try:
        Fault(kind=kind, service=provider)
    except InvalidFaultError:
        return False
    return True


MATRIX = [
    (kind, provider, side, caller)
    for kind in FaultKind
    for provider in MODULES
    for side in UploadSide
    for caller in CALLERS
    if possible(provider, kind)
]
SAMPLE = [
    case
    for case in MATRIX
    if case[0] in {FaultKind.DROP_AFTER_COMMIT, FaultKind.ERROR_IN_SUCCESS, FaultKind.QUOTA_EXCEEDED}
    and case[3] == "sync"
]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every retry waits, but for a shorter time."""
    original = Sdk.retry_delay

    def shorter(*args: Any, **kwargs: Any) -> float | None:
        delay = original(*args, **kwargs)
        return None if delay is None else delay / 50

    monkeypatch.setattr(Sdk, "retry_delay", shorter)
    for client in (openai._base_client, zai.core._http_client):
        monkeypatch.setattr(client, "INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr(delivery, "_SECOND_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(kimi_client, "DEFAULT_TIMEOUT", PATIENCE_SECONDS)
    monkeypatch.setattr(glm_client, "ZAI_DEFAULT_TIMEOUT", PATIENCE_SECONDS)


@contextmanager
def shimmed(bench: Bench) -> Iterator[Callable[..., Any]]:
    """The provider's function as callers have it, served by the side of the bench."""
    module = MODULES[bench.provider]
    target = f"{module.__name__}:upload_via_supabase_gateway_{bench.provider}"
    router = FixedRouter()
    router.serve = Side.LEGACY if bench.side is UploadSide.LEGACY else Side.CANDIDATE
    runtime = Runtime(router=router)
    install(target, MIGRATIONS[target], runtime=runtime)
    runtime.loop.on_close(cleanup_http_session)
    try:
        yield getattr(module, f"upload_via_supabase_gateway_{bench.provider}")
    finally:
        runtime.close()
        uninstall(target)


def called(bench: Bench, function: Any, caller: str, path: Any) -> str | None:
    """The id that the caller is given, or None if it fails as the function declares."""
    try:
        direct = caller == "sync"
        result = function(path, bench.storage) if direct else asyncio.run(function.aio(path, bench.storage))
    except RuntimeError:
        return None
    return str(result[f"{bench.provider}_file_id"])


def meets(bench: Bench, kind: FaultKind, caller: str) -> None:
    """One upload meets one fault; then recovery comes."""
    bench.sandbox.inject(kind, bench.provider, "files.create", seconds=0.1)
    path = bench.document(bytes(200_000))
    sha256 = bench.intent(path).sha256
    with shimmed(bench) as function:
        told = called(bench, function, caller, path)
    assert (told is None) == (bench.side in FAILS.get(kind, set())), kind
    bench.sandbox.clear_faults()
    bench.recover()
    account = bench.account()
    assert bench.unfinished() == []
    if told is None:
        assert account.is_whole(sha256) or not account.files
    else:
        assert account.files == {sha256: [told]}
        assert account.is_whole(sha256)


@pytest.mark.parametrize(("kind", "provider", "side", "caller"), SAMPLE)
def test_some_faults(
    kind: FaultKind, provider: ProviderName, side: UploadSide, caller: str, make_bench: MakeBench
) -> None:
    """A sample of the matrix below."""
    meets(make_bench(provider, side, upload_timeout=PATIENCE_SECONDS), kind, caller)


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "provider", "side", "caller"), MATRIX)
def test_all_faults(
    kind: FaultKind, provider: ProviderName, side: UploadSide, caller: str, make_bench: MakeBench
) -> None:
    """Every fault of the sandbox, for each provider, implementation and kind of caller."""
    meets(make_bench(provider, side, upload_timeout=PATIENCE_SECONDS), kind, caller)


QUICK = (
    FaultKind.DROP_AFTER_COMMIT,
    FaultKind.RESET_MID_BODY,
    FaultKind.SERVER_ERROR,
    FaultKind.OVERLOADED,
    FaultKind.GATEWAY_TIMEOUT,
    FaultKind.LATENCY,
)


@pytest.mark.parametrize("side", list(UploadSide))
@settings(
    max_examples=20,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
@given(schedule=st.lists(st.sampled_from(QUICK), max_size=8), calls=st.integers(1, 2))
@example(schedule=[FaultKind.OVERLOADED] * 6, calls=2)
def test_any_schedule_of_faults(make_bench: MakeBench, side: UploadSide, schedule: list[FaultKind], calls: int) -> None:
    """As many files as callers were told of, and one at least, unless the provider refused whatever was sent."""
    bench = make_bench("kimi", side, upload_timeout=PATIENCE_SECONDS)
    bench.sandbox.reset()
    throttle.forget_throttles()
    kimi = "kimi"
    bench.sandbox.set_faults(
        Fault(kind=kind, service=kimi, operation="files.create", seconds=0.05) for kind in schedule
    )
    path = bench.document()
    sha256 = bench.intent(path).sha256
    told = []
    for _ in range(calls):
        try:
            told.append(str(bench.upload(path)["kimi_file_id"]))
        except RuntimeError:
            continue
    sent = bench.sandbox.requests("kimi", "files.create")
    refused = all(request["status"] == HTTPStatus.TOO_MANY_REQUESTS for request in sent)  # nothing was made: no doubt
    bench.sandbox.clear_faults()
    bench.recover()
    account = bench.account()
    files = account.files.get(sha256, [])
    assert bench.unfinished() == []
    assert set(told) <= set(files)
    assert len(files) == (0 if refused else max(1, len(told)))
    assert {row["provider_file_id"] for row in account.rows if row["sha256"] == sha256} == set(files)
