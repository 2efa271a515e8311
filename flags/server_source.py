"""Flags from an Unleash server, polled within bounds; Unleash's own client reports how they are used."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable
from threading import Event, Thread

from UnleashClient.clients.unleash_client import UnleashClient
from UnleashClient.utils import InstanceAllowType

from flags.client import REPORTING_THREAD, MemoryCache, make_scheduler
from flags.errors import FlagDefinitionsError, FlagError, FlagServerError
from flags.poll import Poller, as_it_is, left_unread
from flags.source import Freshness, Source

_NEVER_SECONDS = 3600
"""The client, which fetches nothing, looks so seldom whether it has something to evaluate."""


class ServerSource(Source):
    """Polls a server. While it does not answer, the last definitions stay in force until they are too old.

    What was fetched is published as a snapshot, which evaluates it by itself and never changes, so that everything
    about one decision is of one state. It is as old as the question that brought it: however long the answer took, a
    flip after the question is not in it.
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
        address = api_address(url)
        self._client = UnleashClient(
            url=address,
            app_name=app_name,
            instance_id=f"{app_name}-{os.getpid()}-{uuid.uuid4().hex[:8]}",
            refresh_interval=_NEVER_SECONDS,
            request_timeout=request_timeout,  # type: ignore[arg-type]  # annotated int, and a float works
            request_retries=0,
            custom_headers={"Authorization": token},
            custom_options={"auth": as_it_is, "allow_redirects": False, "hooks": {"response": left_unread}},
            cache=MemoryCache(),
            multiple_instance_mode=InstanceAllowType.SILENTLY_ALLOW,  # the warning prints parts of the token
            **make_scheduler(),
        )
        headers = self._client._headers.polling()  # noqa: SLF001 - how the official client introduces itself
        headers["unleash-interval"] = str(int(refresh_seconds * 1000))
        self._poller = Poller(address, headers, timeout=request_timeout)
        self._refresh_seconds = refresh_seconds
        self._stopping = Event()

    def start(self) -> None:
        """Begin to poll, and to report, each on a thread of its own: a hung server blocks both."""
        Thread(target=self._poll, name="flags-poll", daemon=True).start()
        Thread(target=self._report, name=REPORTING_THREAD, daemon=True).start()

    def count(self, name: str, *, enabled: bool) -> None:
        """Count for the console, in the client that reports it."""
        # the client's own `is_enabled` would evaluate a second time, by definitions of another moment
        self._client._engine.count_toggle(name, enabled)  # noqa: SLF001

    def stop(self, timeout: float) -> None:
        """Stop polling and send the last usage counts, on a thread that is not waited for too long."""
        self._stopping.set()
        stopping = Thread(target=self._client.destroy, name=REPORTING_THREAD, daemon=True)
        stopping.start()
        stopping.join(timeout)

    @property
    def failure(self) -> FlagError | None:
        """What went wrong last; silence counts as a failure after a while."""
        if self._failure is None and self.is_doubtful:
            return FlagServerError("deliver flags", "no answer")
        return self._failure

    def _report(self) -> None:
        """Register, and send usage counts from then on."""
        with contextlib.suppress(Exception):  # an address that cannot be used raises what it likes; polling says so
            self._client.initialize_client(fetch_toggles=False)

    def _poll(self) -> None:
        self._refresh()
        while not self._stopping.wait(self._refresh_seconds):  # by the monotonic clock: the other one may be set back
            self._refresh()

    def _refresh(self) -> None:
        asked_at = self._clock()
        try:
            payload = self._poller.ask()
            if payload is not None:
                self._publish(self._read(payload))
                self._poller.accepted()
        except (FlagServerError, FlagDefinitionsError) as failure:
            self._fail(failure)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread that asks must live on
            self._fail(FlagServerError("be asked for flags", type(error).__name__))
        else:
            self._confirm(asked_at)


def api_address(url: str) -> str:
    """The address of the server's API, whether or not `url` already names it."""
    return url.rstrip("/").removesuffix("/api") + "/api"
