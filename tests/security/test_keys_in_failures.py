"""Uploads that fail in many ways, on both sides, with everything watching: no key is ever seen."""

from __future__ import annotations

import io
import logging
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from flags import FileFlagAdmin
from migration import Side
from shim.installation import Installation
from tests.security.conftest import Planted
from tests.security.planted import VARIABLES, seen_in
from tests.support.monolith import SetEnvironment
from tests.support.unleash_programs import free_port
from tests.tools.untrusted.clients import ROW
from tools.application import app
from tools.errors import ConfigurationError
from tools.migrations import NAMES
from tools.providers.glm import glm_client, glm_files
from tools.providers.kimi import kimi_client, kimi_files
from tools.sandbox import FaultKind, RunningSandbox
from tools.settings import get_settings
from tools.storage import get_storage

OURS = ("tools", "migration", "flags", "observability")

ACTIONS: dict[str, Callable[[Path], object]] = {
    "upload to Kimi": lambda path: kimi_files.upload_via_supabase_gateway_kimi(path, get_storage()),
    "upload to GLM": lambda path: glm_files.upload_via_supabase_gateway_glm(path, get_storage()),
    "tool of Kimi": lambda path: kimi_files.KimiUploadFilesTool()._run(files=[path]),
    "tool of GLM": lambda path: glm_files.GLMUploadFileTool().run(file=path),
    "row": lambda _path: get_storage().record_upload(ROW),
    "search": lambda _path: get_storage().find_upload(sha256="0", provider="kimi"),
    "text at Kimi": lambda path: kimi_client.extract_text(path, "file-1", timeout=5),
    "question to GLM": lambda _path: glm_client.ask("Why?", "text", model="m", timeout=5),
}


def failure_of(action: Callable[[Path], object], path: Path) -> Exception | None:
    """What it raises. This frame is in the traceback, so it holds nothing else."""
    try:
        action(path)
    except Exception as error:  # noqa: BLE001  # it is looked at
        return error
    return None


def everything_about(error: BaseException) -> str:
    """What an error reporter shows: every frame of every error in the chain, with its variables."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(shown.format()) + repr(error) + repr(error.args) + repr(vars(error))


def everything_of(installation: Installation) -> str:
    """What a debugger shows of the things that hold keys."""
    things = (installation, installation.settings, get_settings(), get_storage(), get_storage().__dict__)
    return "\n".join(map(repr, (*things, installation.router, vars(installation.router))))


@contextmanager
def watched(planted: Planted, side: Side, seen: dict[str, bytes]) -> Iterator[Installation]:
    """The migrations with one side serving; afterwards `seen` has what came out at every place."""
    admin = FileFlagAdmin(planted.home / "flags.json")
    for name in NAMES:
        admin.ensure(name)
        admin.set_percentage(name, 100 if side is Side.CANDIDATE else 0)
    console = io.StringIO()
    with app.running(console=console) as installation:
        yield installation
        seen["things"] = everything_of(installation).encode()
        url = installation.telemetry.prometheus_url
        assert url is not None
        with urllib.request.urlopen(url) as answer:  # noqa: S310  # our own page on the loopback
            seen["metrics"] = answer.read()
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    seen["processes"] = str([process.cmdline() for process in processes]).encode()
    seen["console"] = console.getvalue().encode()
    seen["telemetry"] = planted.telemetry()
    seen.update(planted.files())


@pytest.fixture(autouse=True)
def _flags_from_the_file(planted: Planted, set_environment: SetEnvironment) -> None:
    del planted
    set_environment(UNLEASH_API_TOKEN=None, SHIM_PROMETHEUS_PORT="0", UPLOAD_TIMEOUT="20")


def misfortune(kind: str, sandbox: RunningSandbox, set_environment: SetEnvironment) -> None:
    """Let every request fail in this way."""
    if kind == "nobody listens":
        address = f"http://127.0.0.1:{free_port()}"
        set_environment(KIMI_API_URL=address, GLM_API_URL=address, SUPABASE_URL=address)
        return
    for service in ("kimi", "glm"):
        sandbox.inject(FaultKind(kind), service, times=None)


@pytest.mark.parametrize("kind", ["nobody listens", "server_error", "drop_after_commit", "quota_exceeded"])
@pytest.mark.parametrize("side", Side)
def test_no_key_is_seen_when_things_fail(  # noqa: PLR0917  # fixtures
    side: Side,
    kind: str,
    planted: Planted,
    sandbox: RunningSandbox,
    set_environment: SetEnvironment,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not in errors, tracebacks with locals, reprs, talkative logs, metrics, spans, databases, the process list."""
    monkeypatch.setattr("time.sleep", lambda _seconds: None)  # the SDKs wait between their attempts
    misfortune(kind, sandbox, set_environment)
    path = tmp_path / "report.txt"
    path.write_text("harmless")
    seen: dict[str, bytes] = {}
    failed = 0
    with caplog.at_level(logging.DEBUG), watched(planted, side, seen):
        for name, action in ACTIONS.items():
            error = failure_of(action, path)
            if error is not None:
                failed += 1
                seen[f"error of {name}"] = everything_about(error).encode()
    seen["log"] = "\n".join(f"{record.getMessage()} {record.exc_text}" for record in caplog.records).encode()
    assert {place: seen_in(content) for place, content in seen.items() if seen_in(content)} == {}
    assert failed >= 4
    assert {"shim.db", "log", "telemetry", "metrics", "console"} <= set(seen)
    assert all(seen[place] for place in ("shim.db", "log", "telemetry", "metrics", "console", "processes"))


@pytest.mark.parametrize("variable", ["KIMI_API_URL", "SUPABASE_URL", "UNLEASH_URL"])
def test_a_wrong_value_is_named_and_not_shown(variable: str, planted: Planted, set_environment: SetEnvironment) -> None:
    """Whoever puts a key where it does not belong does not find it in the error, nor in its traceback."""
    set_environment(**{variable: planted.variables["KIMI_API_KEY"]})
    with pytest.raises(ConfigurationError, match=variable) as failed:
        get_settings()
    assert seen_in(everything_about(failed.value).encode()) == []


def test_the_search_finds_what_it_is_to_find() -> None:
    """Every key is recognised plain, percent-encoded, in hexadecimal, and within something in base64."""
    import base64  # noqa: PLC0415
    from urllib.parse import quote  # noqa: PLC0415

    for variable, value in VARIABLES.items():
        for before in ("", "x", "xy", "Bearer "):
            text = f"{before}{value} and more"
            for form in (text, quote(text), quote(text, safe=""), base64.b64encode(text.encode()).decode()):
                assert variable in seen_in(form.encode())
    assert seen_in(b"nothing of the kind") == []
