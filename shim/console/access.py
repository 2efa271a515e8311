"""Access to the console: the host that a browser asked for, the origin of the request, the token."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from shim.errors import ShimError


class ConsoleError(ShimError):
    """The console cannot be served; the message says why and what to do."""


TOKEN_BYTES = 32
"""Random bytes of a token that is made here."""

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_OWN_SITE = frozenset({"same-origin", "none"})

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def new_token() -> str:
    """A token that cannot be guessed."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The rules.

    Attributes:
        host: the address that the console listens on.
        token: what acting takes, and reading as well unless `host` is of the loopback.
    """

    host: str
    token: str = field(repr=False)

    @property
    def reading_takes_token(self) -> bool:
        """Whether the token is needed to see anything."""
        return not is_loopback(self.host)

    def knows_host(self, header: str) -> bool:
        """Whether the `Host` that a browser asked for can be this console.

        A page from elsewhere whose name was made to point here (DNS rebinding) sends that name: on the loopback only
        loopback names are ours, and elsewhere the name given and plain addresses, which no name server can rebind.
        """
        name = _name_in(header)
        if name in _LOOPBACK_NAMES:
            return True
        if is_loopback(self.host):
            return False
        return name == self.host.lower() or _is_address(name)

    def holds_token(self, request: web.BaseRequest) -> bool:
        """Whether the token was sent along; takes the same time wherever it differs."""
        scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(sent.strip().encode(), self.token.encode())


def is_from_elsewhere(request: web.BaseRequest) -> bool:
    """Whether a browser says that a page of another site asks."""
    if request.headers.get("Sec-Fetch-Site", "none") not in _OWN_SITE:
        return True
    origin = request.headers.get("Origin")
    return origin is not None and origin != f"{request.scheme}://{request.host}"


def guarded(access: Access) -> Middleware:
    """What every request passes: unknown hosts, other sites and, below `/api/`, a missing token are refused."""

    @web.middleware
    async def guard(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        refusal = _refusal(access, request)
        if refusal is not None:
            return _with_headers(web.json_response({"error": refusal[1]}, status=refusal[0]))
        try:
            return _with_headers(await handler(request))
        except web.HTTPException as error:
            return _with_headers(web.json_response({"error": error.reason}, status=error.status, headers=_allow(error)))

    return guard


def _refusal(access: Access, request: web.Request) -> tuple[int, str] | None:
    if not access.knows_host(request.host):
        return 421, "this console is not asked by that name"
    if not request.path.startswith("/api/"):
        return None
    if is_from_elsewhere(request):
        return 403, "only the console's own page may ask this"
    acting = request.method not in {"GET", "HEAD"}
    if (acting or access.reading_takes_token) and not access.holds_token(request):
        return 401, "this takes the token that `shim console` printed"
    return None


def add_headers(response: web.StreamResponse) -> None:
    """Tell browsers what the page may do: nothing but talk to this console."""
    for name, value in _HEADERS.items():
        response.headers[name] = value


def _with_headers(response: web.StreamResponse) -> web.StreamResponse:
    if not response.prepared:
        add_headers(response)
    return response


def _allow(error: web.HTTPException) -> dict[str, str]:
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}


def _name_in(header: str) -> str:
    """The name without its port; empty if it is none."""
    try:
        parts = urlsplit(f"//{header}")
        whole = parts.username is None and parts.port != 0 and not (parts.path or parts.query or parts.fragment)
    except ValueError:
        return ""
    return (parts.hostname or "") if whole else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
