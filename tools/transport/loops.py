"""What code that waits needs: drivers of policies, a value for each loop, work in threads, the clock and back-off."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

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


# What code on an event loop needs besides: a value for each loop, blocking work in threads, the clock and back-off.

T = TypeVar("T")


class PerLoop(Generic[T]):
    """A value for each event loop, kept as an attribute of the loop, with which it ends.

    A forked child never frees the loops that run in other threads of its parent, and so never frees these values.
    Freeing a session there would close its connections, and take them out of the parent's selector.
    """

    def __init__(self) -> None:
        self._name = f"_per_loop_{next(_numbers)}"

    def get(self) -> T | None:
        """The running loop's value, if it has one."""
        return getattr(asyncio.get_running_loop(), self._name, None)

    def set(self, value: T) -> T:
        """Give the running loop a value."""
        setattr(asyncio.get_running_loop(), self._name, value)
        return value

    def pop(self) -> T | None:
        """Take the running loop's value away."""
        value = self.get()
        if value is not None:
            delattr(asyncio.get_running_loop(), self._name)
        return value


_numbers = itertools.count()

P = ParamSpec("P")
R = TypeVar("R")


async def run_in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a blocking function in a thread, to its end even if the caller is cancelled.

    A thread cannot be stopped. Cancellation therefore takes effect when the work has ended, so that nothing is left
    running behind the caller's back.
    """
    context = copy_context()
    work: asyncio.Future[R] = asyncio.get_running_loop().run_in_executor(
        None, lambda: context.run(function, *args, **kwargs)
    )
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with suppress(asyncio.CancelledError):  # once more changes nothing
                await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # marks it as seen: the caller is told of the cancellation instead
        raise


# Sleeping, the clock and randomness, in one place so that tests can replace them.


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """How time passes.

    Attributes:
        sleep: wait for some seconds.
        jitter: a random number in [0, 1).
        now: seconds on a clock that never goes back.
    """

    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[], float] = random.random
    now: Callable[[], float] = time.monotonic


SYSTEM_CLOCK = Clock()


def retry_delay(failures: int, *, first: float, longest: float, jitter: float = 0.0, advised: str = "") -> float:
    """Seconds to wait after so many failures in a row: what the server advises, else doubled with each failure.

    Args:
        failures: at least 1.
        first: seconds after the first failure.
        longest: seconds at most, also when the server advises more.
        jitter: in [0, 1); takes up to a quarter off, so that many clients do not return at once.
        advised: the header `Retry-After`; only the form in seconds counts.
    """
    if advised.isascii() and advised.isdigit():
        return min(float(advised), longest)
    return min(first * 2.0 ** (failures - 1), longest) * (1 - 0.25 * jitter)
