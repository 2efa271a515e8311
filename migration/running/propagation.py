"""Carries context variables: what a side sets back to its caller, those of a recorded or replayed run into its threads.

Threads and pools do not copy context variables. What records a run, and what keeps a replay from writing, are context
variables: a function that uses a thread would be heard and confined in part only. So the starts of threads and the
places where pools take work are wrapped, as OpenTelemetry's instrumentation of `threading` does; outside of such a run
they do what they did. Carried are the variables that were set for the run, not those of the function or its caller.

https://opentelemetry-python-contrib.readthedocs.io/en/latest/instrumentation/threading/threading.html
"""

from __future__ import annotations

import _thread
import asyncio
import functools
import inspect
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from multiprocessing.pool import ThreadPool
from typing import Any, TypeVar

from migration.forking import new_lock
from migration.running.in_flight import OWN_VARIABLES, inside_a_call
from migration.running.workers import beside_loop

T = TypeVar("T")
_MISSING = object()


def carry_back(context: Context) -> None:
    """Set here what was set in `context`, a copy of this context. A variable of the library is not carried."""
    for variable, value in context.items():
        if variable not in OWN_VARIABLES and variable.get(_MISSING) is not value:
            variable.set(value)


async def in_thread(work: Callable[[], T]) -> T:
    """Run `work` beside the running loop, in a copy of this context, and carry its changes back.

    Raises:
        RuntimeError: it raised a `StopIteration`, which no coroutine can raise.
    """
    context = copy_context()
    try:
        result = await beside_loop(lambda: context.run(_without_stop, work))
    except asyncio.CancelledError:
        raise  # it may still run
    except BaseException:
        carry_back(context)
        raise
    carry_back(context)
    return result


def _without_stop(work: Callable[[], T]) -> T:
    """As in a coroutine: a `StopIteration` would end the future of the thread without an answer."""
    try:
        return work()
    except StopIteration as error:
        raise RuntimeError("the function raised StopIteration") from error


# Carries the context variables of a recorded or replayed run into the threads and pools that its code uses.

_PACKAGE = __name__.partition(".")[0]


class FollowedRun:
    """A run whose variables are carried.

    Attributes:
        released: what is left of the run works for others now, and has none of its variables; see `current`.

    Args:
        variables: what is carried; the values are those at the moment when something begins.
    """

    __slots__ = ("__weakref__", "_begun", "_variables", "released")

    def __init__(self, variables: tuple[ContextVar[Any], ...]) -> None:
        self.released = False
        self._variables = variables
        self._begun: weakref.WeakSet[threading.Thread | asyncio.Future[Any]] = weakref.WeakSet()

    def carries(self, variable: ContextVar[Any]) -> bool:
        """Whether the variable was set for this run."""
        return variable in self._variables

    def note_begun(self, begun: threading.Thread | asyncio.Future[Any]) -> None:
        """A thread or task has begun inside the run."""
        self._begun.add(begun)

    def left(self) -> str | None:
        """The name of a thread or task that began inside the run and has not ended; None if all have."""
        for each in list(self._begun):
            if isinstance(each, threading.Thread):
                if each.is_alive() and each is not threading.current_thread():
                    return f"the thread {each.name!r}"
            elif not each.done():
                return f"the task {each.get_name() if isinstance(each, asyncio.Task) else each!r}"
        return None

    def carrying(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work`, with the variables as they are now wherever it runs."""
        values = [(variable, variable.get(_MISSING)) for variable in self._variables]

        @functools.wraps(work, updated=())
        def carried(*args: Any, **kwargs: Any) -> Any:
            tokens = [(variable, variable.set(value)) for variable, value in values if value is not _MISSING]
            try:
                return work(*args, **kwargs)
            finally:
                for variable, token in reversed(tokens):
                    variable.reset(token)

        return carried


_run: ContextVar[FollowedRun | None] = ContextVar("migration_followed_run", default=None)
_ELSEWHERE = FollowedRun((_run,))
"""Of the calls that are neither recorded nor replayed: that work belongs to a call is all that is carried of them."""


@contextmanager
def following(before: Context) -> Iterator[FollowedRun]:
    """Carry what was set in this context since `before` into the threads, tasks and pools that are used inside."""
    _wrap_once()
    set_since = tuple(
        variable for variable, value in copy_context().items() if before.get(variable, _MISSING) is not value
    )
    run = FollowedRun((_run, *set_since))
    token = _run.set(run)
    try:
        yield run
    finally:
        _run.reset(token)


def is_attributed() -> bool:
    """Whether this context belongs to a call or to a shadow that goes on."""
    run = _run.get()
    return (run is not None and not run.released) or inside_a_call()


def current(variable: ContextVar[T]) -> T | None:
    """The variable's value here; None in what is left of a run that is over, if it was set for that run."""
    value = variable.get()
    if value is None:
        return None
    run = _run.get()
    return None if run is not None and run.released and run.carries(variable) else value


def follow_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Note the tasks that begin on this loop inside a run."""
    make = loop.get_task_factory()
    if getattr(make, "_follows", False):
        return

    def make_and_note(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
        task = asyncio.Task(work, loop=loop, **options) if make is None else make(loop, work, **options)
        run = _run.get()
        if run is not None and run is not _ELSEWHERE:
            run.note_begun(task)
        return task

    make_and_note._follows = True  # type: ignore[attr-defined]  # noqa: SLF001  # marks it as this module's
    loop.set_task_factory(make_and_note)


# The places where threads begin and pools take work


def _current() -> FollowedRun | None:
    run = _run.get()
    if run is None:
        return _ELSEWHERE if inside_a_call() else None
    return None if run.released else run


def _wrap_thread(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    @functools.wraps(start)
    def start_carrying(thread: threading.Thread) -> None:
        run = _current()
        if run is None or _is_own(thread):
            start(thread)
            return
        own = thread.__dict__.get("run")
        carried = run.carrying(thread.run)

        def run_once() -> None:
            _restore(thread, own)  # the thread would refer to itself
            carried()

        thread.run = run_once  # type: ignore[method-assign]  # what the thread is started for, whatever class it is of
        run.note_begun(thread)
        try:
            start(thread)
        except BaseException:
            _restore(thread, own)
            raise

    return start_carrying


def _is_own(thread: threading.Thread) -> bool:
    """Whether it is a thread of this package, which works for all calls."""
    target = getattr(thread, "_target", None)
    return str(getattr(target, "__module__", "")).partition(".")[0] == _PACKAGE


def _restore(thread: threading.Thread, own: Any) -> None:
    if own is None:
        del thread.run
    else:
        thread.run = own  # type: ignore[method-assign]  # as it was


def _wrap_low_level(start: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(start)
    def start_carrying(function: Callable[..., Any], *args: Any) -> int:
        run = _current()
        return start(function if run is None else run.carrying(function), *args)

    return start_carrying


def _wrap_submit(submit: Callable[..., Any]) -> Callable[..., Any]:
    """For `ThreadPoolExecutor.submit`. The threads that the pool begins there belong to no run."""

    @functools.wraps(submit)
    def submit_carrying(pool: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        run = _current()
        if run is None:
            return submit(pool, function, *args, **kwargs)
        carried = run.carrying(function)
        with unfollowed():
            return submit(pool, carried, *args, **kwargs)

    return submit_carrying


def _wrap_taking(take: Callable[..., Any]) -> Callable[..., Any]:
    """For a method of `ThreadPool` that takes a function, and functions to be told of the result."""
    parameters = inspect.signature(take)

    @functools.wraps(take)
    def take_carrying(*args: Any, **kwargs: Any) -> Any:
        run = _current()
        if run is None:
            return take(*args, **kwargs)
        given = parameters.bind(*args, **kwargs)
        for name in ("func", "callback", "error_callback"):
            if given.arguments.get(name) is not None:
                given.arguments[name] = run.carrying(given.arguments[name])
        return take(*given.args, **given.kwargs)

    return take_carrying


def _wrap_making(make: Callable[..., None]) -> Callable[..., None]:
    """For the constructor of a pool, which begins threads."""

    @functools.wraps(make)
    def make_unfollowed(pool: Any, *args: Any, **kwargs: Any) -> None:
        with unfollowed():
            make(pool, *args, **kwargs)

    return make_unfollowed


@contextmanager
def unfollowed() -> Iterator[None]:
    """Let what begins inside belong to no run."""
    token = _run.set(_NOTHING)
    try:
        yield
    finally:
        _run.reset(token)


_NOTHING = FollowedRun(())
_NOTHING.released = True

_wrapping = new_lock()
_wrapped = False


def _wrap_once() -> None:
    global _wrapped  # noqa: PLW0603  # once a process
    if _wrapped:
        return
    with _wrapping:
        if _wrapped:
            return
        threading.Thread.start = _wrap_thread(threading.Thread.start)  # type: ignore[method-assign,assignment]  # see above
        _thread.start_new_thread = _wrap_low_level(_thread.start_new_thread)
        ThreadPoolExecutor.submit = _wrap_submit(ThreadPoolExecutor.submit)  # type: ignore[method-assign]  # see above
        for name in ("apply_async", "_map_async", "imap", "imap_unordered"):
            setattr(ThreadPool, name, _wrap_taking(getattr(ThreadPool, name)))
        ThreadPool.__init__ = _wrap_making(ThreadPool.__init__)  # type: ignore[method-assign]  # see above
        _wrapped = True
