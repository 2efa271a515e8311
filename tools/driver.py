"""Runs a policy that is written once, for callers that block and for callers that await (sans-IO).

A policy is a generator: it yields each step that is to be performed, is sent what came of it, and returns its result.
It performs nothing itself, so that one policy serves both drivers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

Step = TypeVar("Step")
Result = TypeVar("Result")


def drive(policy: Generator[Step, Any, Result], perform: Callable[[Step], object]) -> Result:
    """Perform each step of `policy` on this thread, and return its result.

    What `perform` raises is thrown into the policy at the step: it may handle it, or clean up and let it pass.
    """
    try:
        step = next(policy)
        while True:
            try:
                outcome = perform(step)
            except BaseException as error:  # noqa: BLE001  # the policy raises it again, unless it handles it
                step = policy.throw(error)
                continue
            try:
                step = policy.send(outcome)
            finally:
                del outcome  # an exception in it refers to this frame: they would keep each other alive
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]  # StopIteration is not generic


async def drive_async(policy: Generator[Step, Any, Result], perform: Callable[[Step], Awaitable[object]]) -> Result:
    """Likewise with a `perform` that is awaited; a cancellation is thrown into the policy as well."""
    try:
        step = next(policy)
        while True:
            try:
                outcome = await perform(step)
            except BaseException as error:  # noqa: BLE001  # as above
                step = policy.throw(error)
                continue
            try:
                step = policy.send(outcome)
            finally:
                del outcome  # as above
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]  # as above
