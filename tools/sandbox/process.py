"""The sandbox in a process of its own, the client of its control endpoint, and settings that lead to it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from pydantic import SecretStr

from tools.providers.spec import provider
from tools.sandbox.faults import Fault, FaultKind, SandboxControlError, SandboxStartError
from tools.settings import Settings

_SECONDS = 70.0
_direct = build_opener(ProxyHandler({}))  # a proxy in the environment must not see loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSandbox:
    """A sandbox that runs somewhere on this machine.

    Attributes:
        urls: base URLs for the providers' clients, by provider.
        supabase_url: base URL for Supabase's clients.
        control_url: base URL of the control endpoint.
        key: a credential that all services accept.
        home: folder of its state.
        pid: its process.
    """

    urls: Mapping[str, str]
    supabase_url: str
    control_url: str
    key: str
    home: Path
    pid: int

    def inject(self, kind: FaultKind, service: str, operation: str | None = None, **settings: Any) -> None:
        """Set one more fault switch; `settings` are the other fields of `Fault`."""
        fault = Fault(kind=kind, service=service, operation=operation, **settings)
        self._call("POST", "/faults", fault.to_json())

    def set_faults(self, faults: Iterable[Fault]) -> None:
        """Set these switches and no others."""
        self._call("PUT", "/faults", [fault.to_json() for fault in faults])

    def faults(self) -> list[dict[str, Any]]:
        """The switches that are on, `times` being what is left of each."""
        return list(self._call("GET", "/faults")["faults"])

    def clear_faults(self) -> None:
        """Set all switches off and cut the requests that hang."""
        self._call("DELETE", "/faults")

    def set_limits(self, **limits: int) -> None:
        """Change limits until the next reset; the names are those of `Limits`."""
        self._call("PATCH", "/limits", limits)

    def state(self) -> dict[str, Any]:
        """All that is stored: files, objects and rows, with the digest of each."""
        return dict(self._call("GET", "/state"))

    def requests(self, service: str | None = None, operation: str | None = None) -> list[dict[str, Any]]:
        """The last requests, oldest first: heads, parts and digests, never contents or credentials."""
        return [
            request
            for request in self._call("GET", "/requests")["requests"]
            if service in (None, request["service"]) and operation in (None, request["operation"])
        ]

    def wait_for_requests(self, service: str, operation: str, *, at_least: int = 1, seconds: float = 10.0) -> None:
        """Wait until so many requests of this kind have begun.

        Raises:
            SandboxControlError: they did not come within `seconds`.
        """
        query = {"service": service, "operation": operation, "at_least": at_least, "seconds": seconds}
        self._call("GET", f"/requests?{urlencode(query)}")

    def reset(self) -> None:
        """Forget files, objects, rows, requests and faults; limits are as at the start."""
        self._call("DELETE", "/state")

    def _call(self, method: str, path: str, body: object = None) -> Any:
        request = Request(  # noqa: S310 - the URL is our own server's
            self.control_url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with _direct.open(request, timeout=_SECONDS) as response:
                answer = response.read()
        except HTTPError as refused:
            raise SandboxControlError(f"{method} {path}", refused.read().decode(errors="replace")) from None
        except (OSError, HTTPException) as unreachable:
            raise SandboxControlError(f"{method} {path}", str(unreachable)) from unreachable
        return json.loads(answer) if answer else None


# The sandbox in a process of its own, so that it never shares the interpreter with what is measured.

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_LOG_TAIL = 2000
_OWNER_ONLY = 0o077
"""The umask of its process: what it keeps is its user's alone."""
_LOOPBACK = "127.0.0.1"
_ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def running_sandbox(home: Path, *, port: int = 0, keys: Collection[str] = ()) -> Iterator[RunningSandbox]:
    """Run the sandbox in a subprocess for the length of a `with` block.

    The process also ends when this one dies, however it dies: it watches its standard input. Meanwhile the clients of
    this process ask the loopback directly: a proxy that the environment names must not see what is for the sandbox.

    Args:
        home: folder of the state, created if need be.
        port: where to listen on loopback; 0 takes a free one.
        keys: the accepted credentials; none given accepts any.

    Raises:
        SandboxStartError: the process ended, or was not ready in time.
    """
    home = home.resolve()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = home / "sandbox.log"
    command = [sys.executable, "-m", "tools.sandbox", "--home", str(home), "--port", str(port), "--until-stdin-closes"]
    for key in keys:
        command += ["--key", key]
    with (
        _loopback_asked_directly(),
        os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as errors,
        subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            umask=_OWNER_ONLY,
            process_group=0,  # Ctrl-C at a terminal is for the program that uses the sandbox, which then ends it
        ) as process,
    ):
        try:
            urls = _first_line(process, log)
            yield RunningSandbox(**json.loads(urls), key=next(iter(keys), "sandbox-key"), home=home, pid=process.pid)
        finally:
            _end(process)


@contextmanager
def _loopback_asked_directly() -> Iterator[None]:
    """Add the loopback to what is asked without a proxy. The name in lower case is the one that all clients prefer."""
    before = os.environ.get("no_proxy")
    others = before or os.environ.get("NO_PROXY", "")
    if others != "*":
        os.environ["no_proxy"] = f"{others},{_LOOPBACK}" if others else _LOOPBACK
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("no_proxy", None)
        else:
            os.environ["no_proxy"] = before


def _first_line(process: subprocess.Popen[bytes], log: Path) -> bytes:
    if process.stdout is None:
        raise SandboxStartError("its output is not connected")
    output = select.poll()  # `select.select` knows no descriptor from 1024 on, which a busy process may have
    output.register(process.stdout, select.POLLIN)
    if not output.poll(_START_SECONDS * 1000):
        raise SandboxStartError(f"it was not ready within {_START_SECONDS} s", log=_tail(log))
    line = process.stdout.readline()
    if not line:
        raise SandboxStartError("its process ended", log=_tail(log))
    return line


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-_LOG_TAIL:].strip()


# Settings with which everything stays on this machine.


def sandboxed(settings: Settings, sandbox: RunningSandbox) -> Settings:
    """The settings with every service in the sandbox, and an embedded storage of its own beside the sandbox's state."""
    key = SecretStr(sandbox.key)
    return settings.model_copy(
        update={
            **{provider(name).key_setting: key for name in sandbox.urls},
            **{provider(name).address_setting: url for name, url in sandbox.urls.items()},
            "supabase_url": None,
            "supabase_service_role_key": None,
            "shim_home": sandbox.home,
        }
    )
