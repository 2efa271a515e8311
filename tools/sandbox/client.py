"""The other end of the control endpoint: for the command line and for tests. Synchronous, standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from tools.sandbox.errors import SandboxControlError
from tools.sandbox.faults import Fault, FaultKind, ServiceName

_SECONDS = 70.0
_direct = build_opener(ProxyHandler({}))  # a proxy in the environment must not see loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSandbox:
    """A sandbox that runs somewhere on this machine.

    Attributes:
        kimi_url: base URL for Kimi's clients.
        glm_url: base URL for GLM's clients.
        supabase_url: base URL for Supabase's clients.
        control_url: base URL of the control endpoint.
        key: a credential that all services accept.
        home: folder of its state.
        pid: its process.
    """

    kimi_url: str
    glm_url: str
    supabase_url: str
    control_url: str
    key: str
    home: Path
    pid: int

    def inject(self, kind: FaultKind, service: ServiceName, operation: str | None = None, **settings: Any) -> None:
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
