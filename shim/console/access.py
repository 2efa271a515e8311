"""What the console lets its readers do: who may read, who may act, and rolling a migration back.

A browser is judged by the host that it asked for, the origin of the request and the token. A rollback is a decision in
the guard's file, which every process of the machine follows within a second, whether Unleash can be reached or not.
The flag is turned off by `FlagChanges`, here or, if the console ends first, in another process.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import secrets
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from migration.guard import NO_SWITCH, DecisionRecord, FlagChanges, FlagSwitch, GuardStore
from migration.model import StoreError
from migration.threads import BackgroundThread
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


# Rolling back

ROUND_SECONDS = 0.25
"""Between two looks for flags that are to be turned off."""

MOST_REASON = 200
"""Characters of a reason."""

_logger = logging.getLogger(__name__)


class NotTrippedError(ShimError):
    """The guard's file could not be written, so this machine's processes follow only the flag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """What a rollback came to.

    Attributes:
        number: of the decision.
        sentence: it in words.
        new: False if the migration had been rolled back before.
    """

    number: int
    sentence: str
    new: bool


class RollBack:
    """Trips migrations, and turns their flags off in a thread of its own.

    Args:
        store: the guard's file.
        switch: changes flags; None if this process may not.
        now: seconds since the epoch.
    """

    def __init__(self, store: GuardStore, switch: FlagSwitch | None, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._switch = switch
        self._now = now
        self._changes = FlagChanges(store, switch, now=now)
        self._wake = threading.Event()
        self._ended = False
        self._thread = BackgroundThread(self._run, name="console-rollback")

    def start(self) -> None:
        """Begin to look for flags that are to be turned off."""
        self._thread.start()

    def close(self, timeout: float = 2.0) -> None:
        """Try once more and stop, within about `timeout` seconds; what is left is taken over by another process."""
        self._ended = True
        self._wake.set()
        self._thread.join(timeout)

    def roll_back(self, migration: str, *, because: str, by: str) -> RolledBack:
        """Let legacy serve every call of this machine, and begin to turn the flag off.

        Raises:
            NotTrippedError: the first could not be written down; the second has begun all the same.
        """
        reason = " ".join(because.split())[:MOST_REASON] or "no reason was given"
        sentence = f"{migration} was rolled back by hand by {by}: {reason}."
        self._thread.start()  # if it was refused, or died
        problem = NO_SWITCH if self._switch is None else None
        record = DecisionRecord(
            at=self._now(), migration=migration, action="rollback", by=by, sentence=sentence, problem=problem
        )
        try:
            number, new = self._store.decide_once(record, due=self._switch is not None)
        except StoreError as error:
            self._changes.add_rollback(migration, because=sentence, number=None)
            self._wake.set()
            raise NotTrippedError(f"{error}; the flag is being turned off, which other processes follow") from error
        if new:
            self._changes.add_rollback(migration, because=sentence, number=number)
            self._wake.set()
        return RolledBack(number=number, sentence=sentence, new=new)

    # In the thread

    def _run(self) -> None:
        ended = False
        while not ended:
            self._wake.wait(ROUND_SECONDS)
            self._wake.clear()
            ended = self._ended
            try:
                self._changes.carry_on(at_once=ended)
                self._changes.take_over(self._store.statuses().values())
            except StoreError as error:
                _logger.debug("%s", error)  # the page says so: it reads the same file
