"""Unleash's own client, set up to report how flags are used and nothing else."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Mapping
from io import BytesIO
from threading import Thread
from typing import Any

import requests
from apscheduler.executors.base import BaseExecutor, run_job  # type: ignore[import-untyped]  # ships no types
from apscheduler.schedulers.background import BackgroundScheduler  # type: ignore[import-untyped]  # ships no types
from UnleashClient.cache import BaseCache
from UnleashClient.clients.unleash_client import UnleashClient
from UnleashClient.utils import LOGGER, InstanceAllowType

from flags.http import own_credentials

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


def reporting_client(address: str, token: str, *, app_name: str, timeout: float) -> UnleashClient:
    """Unleash's own client, which registers and sends usage counts, and neither polls nor evaluates.

    Args:
        address: of the server's API.
        token: a backend token.
        app_name: under which the server lists this application.
        timeout: seconds that a connection or a read may take.
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
        scheduler=BackgroundScheduler(executors={"daemon": _DaemonExecutor()}, daemon=True),
        scheduler_executor="daemon",
    )


def _leave_unread(answer: requests.Response, **_: object) -> None:
    """Close the answer to a report unread: only its status counts, and its size has no bound."""
    answer.raw.close()
    answer.raw = BytesIO()
