"""What stands in a legacy function's place once its migration is over: synchronous callers stay synchronous."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from migration.model.errors import AwaitInsteadError
from migration.routing.runtime import current_runtime

P = ParamSpec("P")
R = TypeVar("R")


def call_blocking(function: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call an asynchronous function and wait for it, as the migration's synchronous callers did.

    It runs on the one background loop of the process, where its connections live; exceptions reach the caller as they
    are. Who calls inside a running event loop holds it up: await the asynchronous function there.

    Raises:
        AwaitInsteadError: the caller is on the background loop itself, where waiting could never end.
        LoopClosedError: the process is ending.
    """
    runtime = current_runtime()
    if runtime.must_not_wait():
        raise AwaitInsteadError(getattr(function, "__qualname__", repr(function)))
    return runtime.loop.run(lambda: function(*args, **kwargs))
