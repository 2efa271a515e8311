"""Functions that raise what a test has made, and what came out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class NothingSentError(Exception):
    """Proof that nothing was sent."""


def raising(error: BaseException) -> tuple[Callable[[], str], Callable[[], Any]]:
    """A legacy function and a candidate that raise this very object."""

    def legacy() -> str:
        raise error

    async def candidate() -> str:
        raise error

    return legacy, candidate


def caught(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as error:  # noqa: BLE001  # looked at by the test
        return error
    raise AssertionError("nothing was raised")
