"""What the table of failures names: every error there is, under the name that its library gives it."""

from __future__ import annotations

import asyncio
import errno
import importlib
import inspect
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import aiohttp
import httpx
import pytest
import requests

import tools.providers.answers
import tools.storage.port
import tools.transport.errors
from migration.model import ErrorKind
from tools.errors import ToolsError
from tools.failures import CLIENTS, FAILURES, OWN
from tools.sandbox import FaultKind, RunningSandbox
from tools.storage.port import LocalStorageError

SECONDS = 0.5


@pytest.mark.parametrize("name", [name for name in {**CLIENTS, **OWN} if isinstance(name, str)])
def test_every_registered_name_is_an_exception(name: str) -> None:
    """A client that renames a class fails here and not in a comparison."""
    module, _, attribute = name.rpartition(".")
    assert issubclass(getattr(importlib.import_module(module), attribute), Exception)


@pytest.mark.parametrize("module", [tools.transport.errors, tools.storage.port, tools.providers.answers])
def test_every_error_of_the_monolith_has_a_kind(module: ModuleType) -> None:
    """No error that an upload can raise is left unclassified; bases that are never raised, and notes, apart."""
    bases = {"EngineError", "TransportError", "StorageError", "StorageUnansweredError"}
    apart = bases | {"ListingUnavailableError", "AmbiguousListingError"}
    errors = [
        found
        for name, found in vars(module).items()
        if inspect.isclass(found) and issubclass(found, ToolsError) and found.__module__ == module.__name__
        if name not in apart
    ]
    assert len(errors) > 3
    unknown = [found.__name__ for found in errors if FAILURES.kind_of(found.__new__(found)) is ErrorKind.UNKNOWN]
    assert unknown == []


def test_naming_the_clients_imports_none() -> None:
    """The table alone costs no client's import."""
    program = (
        "import sys, tools.failures\n"
        "found = {'openai', 'zai', 'aiohttp', 'httpx', 'httpx2', 'requests', 'supabase'} & set(sys.modules)\n"
        "assert not found, found\n"
        "assert tools.failures.FAILURES.kind_of(ConnectionResetError()) == 'connection_lost'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603  # a program of the test's own


async def _get_with_aiohttp(url: str, headers: Mapping[str, str]) -> None:
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, headers=headers) as response:
        response.raise_for_status()


GET: dict[str, Callable[[str, Mapping[str, str]], object]] = {
    "requests": lambda url, headers: requests.get(url, headers=headers, timeout=SECONDS).raise_for_status(),
    "httpx": lambda url, headers: httpx.get(url, headers=dict(headers), timeout=SECONDS).raise_for_status(),
    "aiohttp": lambda url, headers: asyncio.run(_get_with_aiohttp(url, headers)),
}


@pytest.mark.parametrize("client", GET)
def test_a_bare_client(client: str, sandbox: RunningSandbox) -> None:
    """Requests, httpx and aiohttp by themselves: no server listens, no key, no answer, a broken one, an error."""

    def kind(url: str = f"{sandbox.urls['kimi']}/files", key: str = sandbox.key) -> ErrorKind:
        with pytest.raises((httpx.HTTPError, requests.RequestException, aiohttp.ClientError, TimeoutError)) as failed:
            GET[client](url, {"Authorization": f"Bearer {key}"} if key else {})
        return FAILURES.kind_of(failed.value)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        assert kind(f"http://127.0.0.1:{taken.getsockname()[1]}") is ErrorKind.CONNECTION
    assert kind(key="") is ErrorKind.UNAUTHORISED
    for fault, expected in (
        (FaultKind.HANG, ErrorKind.TIMEOUT),
        (FaultKind.DROP_AFTER_COMMIT, ErrorKind.CONNECTION_LOST),
        (FaultKind.SERVER_ERROR, ErrorKind.SERVER_FAILED),
        (FaultKind.RATE_LIMITED, ErrorKind.RATE_LIMITED),
    ):
        sandbox.clear_faults()
        sandbox.inject(fault, "kimi", times=None)
        assert kind() is expected
    sandbox.clear_faults()
    assert kind(f"{sandbox.urls['kimi']}/nothing-here") is ErrorKind.REJECTED


def _because_of(cause: BaseException) -> RuntimeError:
    wrapped = RuntimeError("Failed to upload")
    wrapped.__cause__ = cause
    return wrapped


def test_what_this_machine_ran_out_of_is_no_services_fault() -> None:
    """A full disk below the storage, and no descriptor left for a connection."""
    full = LocalStorageError(action="store", problem="full", root=Path())
    assert FAILURES.kind_of(_because_of(full)) is ErrorKind.SERVER_FAILED
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert FAILURES.kind_of(_because_of(full)) is ErrorKind.RESOURCE
    unconnected = httpx.ConnectError("no connection")
    assert FAILURES.kind_of(_because_of(unconnected)) is ErrorKind.CONNECTION
    unconnected.__cause__ = OSError(errno.EMFILE, "Too many open files")
    assert FAILURES.kind_of(_because_of(unconnected)) is ErrorKind.RESOURCE


def test_an_answer_that_is_no_json() -> None:
    """However it is noticed: by the parser, or by a user of the SDK who gets text instead of a model."""
    with pytest.raises(AttributeError) as plain_text:
        getattr("plain text", "to_dict")  # noqa: B009  # a type checker would not let it pass
    for error in (json.JSONDecodeError("Expecting value", "", 0), plain_text.value):
        assert FAILURES.kind_of(_because_of(error)) is ErrorKind.BAD_ANSWER
    assert FAILURES.kind_of(_because_of(AttributeError("something else"))) is ErrorKind.UNKNOWN
