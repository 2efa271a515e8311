"""Requests to an Unleash server: each bounded in time and size, and its own client, which only reports usage."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from typing import Any, cast

import requests
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url
from UnleashClient.cache import BaseCache
from UnleashClient.clients.unleash_client import UnleashClient
from UnleashClient.utils import LOGGER, InstanceAllowType
from urllib3.exceptions import HTTPError

from flags.errors import FlagError

_PIECE_BYTES = 64 * 1024


class IncompleteAnswerError(FlagError):
    """There was no whole answer within the bounds; `problem` says what was wrong, without the request's secrets."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpBounds:
    """What one request may take.

    Attributes:
        timeout: seconds for the connection, and for each read.
        seconds: from the beginning of the request to the end of the answer.
        max_bytes: of the answer, unpacked.
    """

    timeout: float
    seconds: float
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundedAnswer:
    """An answer that has arrived as a whole.

    Attributes:
        status: its HTTP status; a redirect is not followed, as that would take a token along.
        headers: by name, whatever its case.
        content: the unpacked body; empty if the status is no success, because such a body is not read.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


def ask(
    method: str,
    url: str,
    *,
    bounds: HttpBounds,
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    data: Mapping[str, str] | None = None,
) -> BoundedAnswer:
    """Make one request on a connection of its own; credentials of `~/.netrc` are not used.

    Args:
        method: the HTTP method.
        url: with a user and a password, if the server wants them.
        bounds: what it may take.
        headers: of the request.
        json: body of the request, sent as JSON.
        data: body of the request, sent as a form.

    Raises:
        IncompleteAnswerError: there was no whole answer within the bounds.
    """
    until = time.monotonic() + bounds.seconds
    try:
        with requests.request(
            method,
            url,
            headers=headers,
            json=json,
            data=data,
            timeout=bounds.timeout,
            auth=own_credentials,
            allow_redirects=False,
            stream=True,
        ) as answer:
            is_success = HTTPStatus.OK <= answer.status_code < HTTPStatus.MULTIPLE_CHOICES
            content = _content(answer, bounds, until) if is_success else b""
            return BoundedAnswer(status=answer.status_code, headers=answer.headers, content=content)
    except (requests.RequestException, HTTPError, OSError, ValueError) as error:
        raise IncompleteAnswerError(
            f"no answer ({type(error).__name__})"
        ) from None  # it holds the request with its token


def own_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """An `auth` for requests: the token of the headers, or else the URL's user; otherwise `~/.netrc` would count."""
    user, password = get_auth_from_url(request.url or "")
    if (user or password) and "Authorization" not in request.headers:
        HTTPBasicAuth(user, password)(request)  # sets the header
    return request


def _content(answer: requests.Response, bounds: HttpBounds, until: float) -> bytes:
    content = bytearray()
    while piece := answer.raw.read1(_PIECE_BYTES, decode_content=True):
        content += piece
        if len(content) > bounds.max_bytes:
            raise IncompleteAnswerError(f"the answer is larger than {bounds.max_bytes} bytes")
        if time.monotonic() > until:
            raise IncompleteAnswerError(f"the answer was not complete within {bounds.seconds:g} s")
    return bytes(content)


# Unleash's own client

REPORTING_THREAD = "flags-report"

_NEVER_SECONDS = 3600
"""Between two polls of this client, which has nothing to poll for."""


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


@dataclass(slots=True, eq=False)
class ReportingJob:
    """What Unleash's client does again and again."""

    run: Callable[..., object]
    kwargs: Mapping[str, Any]
    seconds: float
    due: float
    schedule: ReportingSchedule

    def remove(self) -> None:
        """Do it no more."""
        self.schedule.jobs.remove(self)


class ReportingSchedule:
    """Stands where Unleash's client wants a scheduler of APScheduler, whose thread cannot be watched."""

    def __init__(self) -> None:
        self.jobs: list[ReportingJob] = []

    def add_job(self, run: Callable[..., object], *, trigger: Any, executor: str, kwargs: Any) -> ReportingJob:  # noqa: ARG002  # APScheduler's
        """Have it done every so often, in the thread that calls `run_due`."""
        seconds = trigger.interval_length
        self.jobs.append(ReportingJob(run, kwargs or {}, seconds, time.monotonic() + seconds, self))
        return self.jobs[-1]

    def pause(self) -> float:
        """Seconds until the next job is due."""
        now = time.monotonic()
        return min((max(0.0, job.due - now) for job in self.jobs), default=_NEVER_SECONDS)

    def run_due(self) -> None:
        """Do what is due. What fails is done again the next time."""
        for job in [job for job in self.jobs if job.due <= time.monotonic()]:
            job.due = time.monotonic() + job.seconds
            with suppress(Exception):  # the source reports an outage once
                job.run(**job.kwargs)

    def start(self) -> None:
        """Do nothing: `run_due` is called from outside."""

    def remove_all_jobs(self) -> None:
        """Do nothing any more."""
        self.jobs.clear()

    def shutdown(self, *, wait: bool) -> None:  # APScheduler's
        """Do nothing: there is no thread."""


def _demote(record: logging.LogRecord) -> bool:
    """Turn the client's complaint at each failed report into a debug message: the source reports an outage once."""
    if record.threadName != REPORTING_THREAD:
        return True
    record.levelno, record.levelname = logging.DEBUG, "DEBUG"
    return LOGGER.isEnabledFor(logging.DEBUG)  # asked for the level of before when the record was made


LOGGER.addFilter(_demote)


def reporting_client(
    address: str, token: str, *, app_name: str, timeout: float, schedule: ReportingSchedule
) -> UnleashClient:
    """Unleash's own client, which registers and sends usage counts, and neither polls nor evaluates.

    Args:
        address: of the server's API.
        token: a backend token.
        app_name: under which the server lists this application.
        timeout: seconds that a connection or a read may take.
        schedule: when it reports.
    """
    return UnleashClient(
        url=address,
        app_name=app_name,
        instance_id=f"{app_name}-{os.getpid()}-{uuid.uuid4().hex[:8]}",
        refresh_interval=_NEVER_SECONDS,
        request_timeout=timeout,  # type: ignore[arg-type]  # annotated int, and a float works
        request_retries=0,
        custom_headers={"Authorization": token},
        custom_options={"auth": own_credentials, "allow_redirects": False, "hooks": {"response": _leave_unread}},
        cache=MemoryCache(),
        multiple_instance_mode=InstanceAllowType.SILENTLY_ALLOW,  # the warning prints parts of the token
        scheduler=cast("Any", schedule),  # of which the client asks no more than to be started and stopped
        scheduler_executor=REPORTING_THREAD,
    )


def _leave_unread(answer: requests.Response, **_: object) -> None:
    """Close the answer to a report unread: only its status counts, and its size has no bound."""
    answer.raw.close()
    answer.raw = BytesIO()
