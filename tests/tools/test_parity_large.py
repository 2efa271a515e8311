"""Files above 6 MiB, which only the asynchronous side sends in pieces: to a caller both are still the same function."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migration import Side
from tests.tools.parity import PROVIDERS, Provider, outcome_of, run_new, shimmed
from tools.sandbox import Fault, FaultKind, RunningSandbox
from tools.settings import MEGABYTE, Settings, use_settings
from tools.storage import get_storage
from tools.storage import tus_policy as patience

pytestmark = pytest.mark.thorough

SIZE = 7 * MEGABYTE + 1
REFUSALS = [FaultKind.SERVER_ERROR, FaultKind.OVERLOADED, FaultKind.RATE_LIMITED, FaultKind.GATEWAY_TIMEOUT]
BREAKS = [FaultKind.RESET_MID_BODY, FaultKind.DROP_AFTER_COMMIT]


@pytest.fixture(autouse=True)
def settings(sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both providers and the storage are the sandbox, and no time passes between two attempts."""
    monkeypatch.setattr(patience, "FIRST_DELAY", 0.0)
    settings = Settings.model_validate(
        {
            "kimi_api_url": sandbox.urls["kimi"],
            "glm_api_url": sandbox.urls["glm"],
            "kimi_api_key": "kimi-key",
            "glm_api_key": "glm-key",
            "supabase_url": sandbox.supabase_url,
            "supabase_service_role_key": "sb_secret_test",
            "shim_home": tmp_path / "state",
        }
    )
    with use_settings(settings):
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / 'Größe "7".bin'
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


def traces(sandbox: RunningSandbox) -> dict[str, Any]:
    """What an upload has left, without ids and times."""
    state = sandbox.state()
    rows = state["supabase"]["provider_file_uploads"]
    return {
        "objects": state["supabase"]["objects"],
        "rows": [{name: row[name] for name in ("provider", "sha256", "filename", "upload_status")} for row in rows],
        "files": [[file["filename"] for file in state[name]["files"]] for name in ("kimi", "glm")],
    }


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_a_large_file_leaves_the_same(provider: Provider, path: Path, sandbox: RunningSandbox) -> None:
    """Same result, same object, same row, same file at the provider, four ways."""
    seen = []
    for run in (provider.legacy, lambda *args: run_new(provider, *args)):
        outcome = outcome_of(lambda run=run: run(str(path), get_storage(), provider.purpose))  # type: ignore[misc]  # bound at once
        assert outcome.pop("supabase_file_id")
        seen.append((outcome, traces(sandbox)))
        sandbox.reset()
    assert seen[0] == seen[1]
    with shimmed(provider) as shim:
        function = getattr(provider.module, provider.function)
        ids = []
        for side in Side:
            shim.router.serve = side
            ids.append(function(str(path), get_storage(), provider.purpose)["supabase_file_id"])
        assert ids[0] == ids[1]


LOST_FOR_GOOD = [
    *((kind, operation) for kind in REFUSALS for operation in ("tus.create", "tus.patch")),
    *((kind, "tus.create") for kind in BREAKS),
    (FaultKind.RESET_MID_BODY, "tus.patch"),  # a piece whose answer alone is lost has arrived, which is found out
]


@pytest.mark.parametrize(("kind", "operation"), LOST_FOR_GOOD)
def test_a_large_file_that_cannot_be_stored_reads_the_same(
    kind: FaultKind, operation: str, path: Path, sandbox: RunningSandbox
) -> None:
    """Whichever step of the pieces fails for good, the caller is told what legacy tells; the provider has nothing."""
    provider = PROVIDERS[0]
    broken = [Fault(kind=kind, service="supabase", operation=one, times=None) for one in ("object.upload", operation)]
    outcomes = []
    for run in (provider.legacy, lambda *args: run_new(provider, *args)):
        sandbox.set_faults(broken)
        outcomes.append(outcome_of(lambda run=run: run(str(path), get_storage(), provider.purpose)))  # type: ignore[misc]  # bound at once
        assert sandbox.state()["kimi"]["files"] == []
        sandbox.reset()
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] is RuntimeError


@pytest.mark.parametrize("operation", ["tus.create", "tus.patch", "tus.head", "object.info"])
@pytest.mark.parametrize("kind", [*REFUSALS, *BREAKS])
def test_a_large_file_gets_through_what_passes(
    kind: FaultKind, operation: str, path: Path, sandbox: RunningSandbox
) -> None:
    """A failure that passes costs the asynchronous side a repetition, and its caller nothing."""
    provider = PROVIDERS[0]
    legacy = outcome_of(lambda: provider.legacy(str(path), get_storage(), provider.purpose))
    legacy.pop("supabase_file_id")
    sandbox.reset()
    if operation == "tus.head":  # which is asked after a broken piece only
        sandbox.inject(FaultKind.RESET_MID_BODY, "supabase", "tus.patch")
    sandbox.inject(kind, "supabase", operation, times=2)
    candidate = outcome_of(lambda: run_new(provider, str(path), get_storage(), provider.purpose))
    assert candidate.pop("supabase_file_id")
    assert candidate == legacy


@pytest.mark.parametrize("change", [{"storage_max_bytes": MEGABYTE}], ids=["too large for storage"])
def test_a_large_file_that_storage_refuses_reads_the_same(
    change: dict[str, int], path: Path, sandbox: RunningSandbox
) -> None:
    """Storage's own words reach the caller either way."""
    provider = PROVIDERS[0]
    sandbox.set_limits(**change)
    legacy = outcome_of(lambda: provider.legacy(str(path), get_storage(), provider.purpose))
    assert outcome_of(lambda: run_new(provider, str(path), get_storage(), provider.purpose)) == legacy
    assert "The object exceeded the maximum allowed size" in legacy[1]
