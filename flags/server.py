"""Flags from an Unleash server, polled within bounds; Unleash's own client reports how they are used."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus
from io import BytesIO
from threading import Event, Thread
from typing import Any

import requests
from apscheduler.executors.base import BaseExecutor, run_job  # type: ignore[import-untyped]  # ships no types
from apscheduler.schedulers.background import BackgroundScheduler  # type: ignore[import-untyped]  # ships no types
from UnleashClient.cache import BaseCache
from UnleashClient.clients.unleash_client import UnleashClient
from UnleashClient.constants import FEATURES_URL
from UnleashClient.utils import LOGGER, InstanceAllowType
from urllib3.exceptions import HTTPError

from flags.definitions import MAX_BYTES
from flags.errors import FlagDefinitionsError, FlagError, FlagServerError
from flags.source import FlagSource, Freshness

REPORTING_THREAD = "flags-report"


class MemoryCache(BaseCache):
    """Keeps the client's state in memory: no folder to be unwritable, no pickles, nothing shared between clients."""

    def __init__(self) -> None:
        self._data: dict[str, Any] = {}

    def set(self, key: str, value: Any) -> None:
        """Store one value."""
        self._data[key] = value

    def mset(self, data: Mapping[str, Any]) -> None:
        """Store several values."""
        self._data.update(data)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, or `default`."""
        return self._data.get(key, default)

    def exists(self, key: str) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]  # the base has no types
        """Whether there is such a value."""
        return key in self._data

    def destroy(self) -> None:
        """Forget everything."""
        self._data.clear()


class _DaemonExecutor(BaseExecutor):  # type: ignore[misc]  # its base ships no types
    """Runs each job on a daemon thread, so that a request which hangs cannot keep the process from ending."""

    def _do_submit_job(self, job: Any, run_times: Any) -> None:
        Thread(target=self._run, args=(job, run_times), name=REPORTING_THREAD, daemon=True).start()

    def _run(self, job: Any, run_times: Any) -> None:
        try:
            events = run_job(job, job._jobstore_alias, run_times, self._logger.name)  # noqa: SLF001 - as APScheduler's own executors do
        except BaseException:  # noqa: BLE001 - as APScheduler's own executors do: reported below
            self._run_job_error(job.id, *sys.exc_info()[1:])
        else:
            self._run_job_success(job.id, events)


def _demote(record: logging.LogRecord) -> bool:
    """Turn the client's complaint at each failed report into a debug message: the source reports an outage once."""
    if record.threadName != REPORTING_THREAD:
        return True
    record.levelno, record.levelname = logging.DEBUG, "DEBUG"
    return LOGGER.isEnabledFor(logging.DEBUG)  # asked for the level of before when the record was made


LOGGER.addFilter(_demote)


def make_scheduler() -> dict[str, Any]:
    """Arguments that make an Unleash client work on daemon threads only."""
    return {
        "scheduler": BackgroundScheduler(executors={"daemon": _DaemonExecutor()}, daemon=True),
        "scheduler_executor": "daemon",
    }


# One question to an Unleash server for its flags: bounded in time and size, whatever the server does.

ANSWER_SECONDS = 10.0
"""An answer must be complete so soon after its head; one that drips in for ever would stop the polling."""

_PIECE_BYTES = 64 * 1024


class Poller:
    """Asks for the definitions again and again; unless they have changed the server need not send them.

    The official client's own polling has no bound on the size of an answer, nor on the time that one may drip in, and
    APScheduler, which paces it, stands still for an hour when somebody sets the wall clock back by one.

    Args:
        address: of the server's API.
        headers: by which the server knows who asks, the token among them.
        timeout: seconds that a connection or a read may take.
        clock: seconds.
    """

    def __init__(
        self, address: str, headers: Mapping[str, str], *, timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = address + FEATURES_URL
        self._headers = dict(headers)
        self._timeout = timeout
        self._clock = clock
        self._etag: str | None = None
        self._offered: str | None = None

    def ask(self) -> str | None:
        """The definitions, or None if they are still those that were accepted last.

        Raises:
            FlagServerError: there was no usable answer in time; a redirect is none, as it would take the token along.
            FlagDefinitionsError: the answer is too large, or no text.
        """
        headers = self._headers if self._etag is None else {**self._headers, "If-None-Match": self._etag}
        try:
            with requests.Session() as session:
                session.auth = as_it_is
                with session.get(
                    self._address, headers=headers, timeout=self._timeout, stream=True, allow_redirects=False
                ) as answer:
                    return self._definitions(answer)
        except (requests.RequestException, HTTPError, OSError) as error:
            raise FlagServerError("deliver flags", f"no answer ({type(error).__name__})") from error

    def accepted(self) -> None:
        """The last definitions are sound. Those that are not must be sent again, or a broken state would last."""
        self._etag = self._offered

    def _definitions(self, answer: requests.Response) -> str | None:
        if answer.status_code == HTTPStatus.NOT_MODIFIED and self._etag is not None:
            return None
        if answer.status_code != HTTPStatus.OK:
            raise FlagServerError("deliver flags", f"status {answer.status_code}", status=answer.status_code)
        content = self._content(answer)
        self._offered = answer.headers.get("ETag")
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise FlagDefinitionsError("not UTF-8 text") from error

    def _content(self, answer: requests.Response) -> bytes:
        deadline = self._clock() + ANSWER_SECONDS
        content = bytearray()
        while piece := answer.raw.read1(_PIECE_BYTES, decode_content=True):
            content += piece
            if len(content) > MAX_BYTES:
                raise FlagDefinitionsError(f"larger than {MAX_BYTES} bytes")
            if self._clock() > deadline:
                raise FlagServerError("deliver flags", f"the answer was not complete within {ANSWER_SECONDS:g} s")
        return bytes(content)


def as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave the headers alone. Without any `auth`, requests would replace the token by what `~/.netrc` says."""
    return request


def left_unread(answer: requests.Response, **_: object) -> None:
    """Throw an answer's body away before anybody reads it: of a report's answer only the status is of interest."""
    answer.raw.close()
    answer.raw = BytesIO()


# Flags from an Unleash server, polled within bounds; Unleash's own client reports how they are used.

_NEVER_SECONDS = 3600
"""The client, which fetches nothing, looks so seldom whether it has something to evaluate."""


class FlagServerSource(FlagSource):
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
