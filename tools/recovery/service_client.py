"""Asks the services what is there, over connections of its own: no implementation is asked about itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final, Self

from yarl import URL

from tools.errors import ToolsError
from tools.settings import MEGABYTE
from tools.transport.errors import EngineError
from tools.transport.rest import Digest, RestAnswer, RestClient, RestPolicy, Sleep, status_within

POLICY: Final = RestPolicy(
    attempts=5,
    first_delay=0.1,
    read_seconds=10.0,
    seconds=300.0,
    max_bytes=16 * MEGABYTE,
    read_status=status_within,
)
"""The bounds of one question."""


class ServiceFailedError(ToolsError):
    """A service did not tell, or did not do, what it was asked, in any attempt."""

    def __init__(self, action: str, problem: str) -> None:
        super().__init__(f"{action}: {problem}")


class NoListingError(ToolsError):
    """A provider does not list its files, so what is there is not known."""


class ServiceClient:
    """The client of one inventory, one trial or one clean-up; use it with `async with`.

    Args:
        sleep: waits so many seconds.
        policy: the bounds; None: `POLICY`.
    """

    def __init__(self, sleep: Sleep = asyncio.sleep, policy: RestPolicy | None = None) -> None:
        self.sleep = sleep
        self._rest = RestClient(policy or POLICY, sleep=sleep)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._rest.close()

    async def ask(
        self,
        action: str,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        document: object = None,
    ) -> RestAnswer:
        """The answer, whatever its status; `action` says in errors what was asked for.

        Raises:
            ServiceFailedError: no attempt was answered.
        """
        with _failures(action):
            return await self._rest.ask(
                method, URL(url, encoded=True), headers=headers, params=params, document=document
            )

    async def digest_of(self, action: str, url: str, *, headers: Mapping[str, str]) -> Digest | None:
        """Length and hash of what is there, without holding it; None if nothing is.

        Raises:
            ServiceFailedError: the service does not say.
        """
        with _failures(action):
            found = await self._rest.digest(URL(url, encoded=True), headers=headers)
        if isinstance(found, Digest) or found.status == HTTPStatus.NOT_FOUND:
            return found if isinstance(found, Digest) else None
        raise ServiceFailedError(action, f"HTTP {found.status}")


def document_of(action: str, answer: RestAnswer) -> Any:
    """The JSON document of a success; None if it is none.

    Raises:
        ServiceFailedError: the answer is no success.
    """
    if not answer.succeeded:
        raise ServiceFailedError(action, f"HTTP {answer.status}")
    return answer.document()


@contextmanager
def _failures(action: str) -> Iterator[None]:
    try:
        yield
    except EngineError as error:
        raise ServiceFailedError(action, str(error)) from error
