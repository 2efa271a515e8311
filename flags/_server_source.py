"""Flags from an Unleash server, polled by Unleash's own client."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from http import HTTPStatus
from threading import Thread
from typing import Any

import requests
from UnleashClient.clients.unleash_client import UnleashClient
from UnleashClient.constants import FEATURES_URL
from UnleashClient.utils import InstanceAllowType

from flags._client import STARTING_THREAD, MemoryCache, make_scheduler
from flags._errors import FlagDefinitionsError, FlagError, FlagServerError, FlagsNotReadyError
from flags._source import Freshness, Source

_NO_ANSWER = "no answer, or one of 500, 502, 504"  # the client does not let these three be told apart


class ServerSource(Source):
    """Polls a server. While it does not answer, the last definitions stay in force until they are too old.

    The client only fetches and reports usage. What it fetched is published as a snapshot, which evaluates it by itself
    and never changes, so that everything about one decision is of one state.
    """

    kind = "unleash"

    def __init__(
        self,
        url: str,
        token: str,
        *,
        app_name: str,
        refresh_seconds: float,
        request_timeout: float,
        freshness: Freshness,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(app_name=app_name, freshness=freshness, clock=clock)
        cache = _PollingCache(arrived=self._arrived, unchanged=self._unchanged, refused=self._refused)
        self._client = UnleashClient(
            url=api_address(url),
            app_name=app_name,
            instance_id=f"{app_name}-{os.getpid()}-{uuid.uuid4().hex[:8]}",
            refresh_interval=refresh_seconds,  # type: ignore[arg-type]  # annotated int, and a float works
            request_timeout=request_timeout,  # type: ignore[arg-type]  # as above
            request_retries=0,
            custom_headers={"Authorization": token},
            custom_options={"auth": cache.asked, "hooks": {"response": cache.answered}},
            cache=cache,
            multiple_instance_mode=InstanceAllowType.SILENTLY_ALLOW,  # the warning prints parts of the token
            **make_scheduler(),
        )

    def start(self) -> None:
        """Register and begin to poll, on a thread: a hung server blocks both."""
        Thread(target=self._start, name=STARTING_THREAD, daemon=True).start()

    def count(self, name: str, *, enabled: bool) -> None:
        """Count for the console, in the client that reports it."""
        # the client's own `is_enabled` would evaluate a second time, by definitions of another moment
        self._client._engine.count_toggle(name, enabled)  # noqa: SLF001

    def stop(self, timeout: float) -> None:
        """Send the last usage counts and stop polling, on a thread that is not waited for too long."""
        stopping = Thread(target=self._client.destroy, name="flags-stop", daemon=True)
        stopping.start()
        stopping.join(timeout)

    @property
    def failure(self) -> FlagError | None:
        """What went wrong last; silence counts as a failure after a while."""
        if self._failure is None and self.is_doubtful:
            return FlagServerError("deliver flags", _NO_ANSWER)
        return self._failure

    def _start(self) -> None:
        try:
            self._client.initialize_client()
        except Exception as error:  # noqa: BLE001 - an address that cannot be used raises what it likes
            self._fail(FlagServerError("be asked for flags", type(error).__name__))
        if isinstance(self._failure, FlagsNotReadyError):
            self._refused(None)

    def _arrived(self, payload: str) -> bool:
        """Take over new definitions, unless they are broken. Runs before the polling client loads them."""
        try:
            snapshot = self._read(payload)
        except FlagDefinitionsError as broken:
            self._fail(broken)
            return False
        self._publish(snapshot)
        self._confirm()
        return True

    def _unchanged(self) -> None:
        if self._snapshot is not None:
            self._confirm()

    def _refused(self, status: int | None) -> None:
        problem = _NO_ANSWER if status is None else f"status {status}"
        self._fail(FlagServerError("deliver flags", problem, status=status))


class _PollingCache(MemoryCache):
    """The client's cache, which is also the one place where the outcome of each poll can be seen."""

    def __init__(
        self, *, arrived: Callable[[str], bool], unchanged: Callable[[], None], refused: Callable[[int | None], None]
    ) -> None:
        super().__init__()
        self._arrived = arrived
        self._unchanged = unchanged
        self._refused = refused
        self._is_sound = False
        self._is_waiting = False

    def asked(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Note the beginning of a poll, and that the one before it had no answer; called by `requests` as its `auth`.

        The headers stay as they are. Without any `auth`, requests would replace the token by what `~/.netrc` says.
        """
        if FEATURES_URL in str(request.url):
            if self._is_waiting:
                self._refused(None)
            self._is_waiting = True
        return request

    def answered(self, response: requests.Response, **_: Any) -> None:
        """Note the status of a poll; called by `requests` before the client looks at the answer."""
        if FEATURES_URL not in response.url:
            return
        self._is_waiting = False
        self._is_sound = response.status_code == HTTPStatus.NOT_MODIFIED
        if self._is_sound:
            self._unchanged()
        elif response.status_code != HTTPStatus.OK:
            self._refused(response.status_code)

    def set(self, key: str, value: Any) -> None:
        """Store a value, unless it is a broken state or the ETag of one: that would make the broken state last."""
        if key == FEATURES_URL:
            self._is_sound = self._arrived(value)
        if self._is_sound:
            super().set(key, value)


def api_address(url: str) -> str:
    """The address of the server's API, whether or not `url` already names it."""
    return url.rstrip("/").removesuffix("/api") + "/api"
