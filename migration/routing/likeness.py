"""Passing for the function: an object in front of it that answers every question about itself as the function does.

Frameworks, mocks and pickles look into functions (`isfunction`, `__code__`, `__defaults__`, `signature`, attributes).
`FunctionProxy` hands all of that on. References to the function that were taken before a migration was installed
(`from ... import`, tables, partials, defaults) are led to the shim by exchanging the code of the function itself, which
keeps every reference valid and is undone by one assignment.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import re
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from migration.forking import new_lock
from migration.model.errors import DeclarationError
from migration.running.in_flight import redirecting_codes

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")

_AWAITABLE = re.compile(r"\b(Awaitable|Coroutine|Future|Task)\b")
_UNKNOWN = re.compile(r"\b(Any|object)\b")


def returns_coroutine(function: Callable[..., Any]) -> bool | None:
    """Whether calling `function` gives a coroutine; None if that is not known before it has been called.

    Raises:
        DeclarationError: it gives its values one by one, which two sides cannot take turns in.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DeclarationError(
            f"{function.__qualname__} yields its values one by one; put the migration in front of a function that "
            "returns them together"
        )
    if inspect.iscoroutinefunction(function):
        return True
    annotation = getattr(function, "__annotations__", {}).get("return", inspect.Parameter.empty)
    if annotation is inspect.Parameter.empty:
        return None
    text = annotation if isinstance(annotation, str) else f"{annotation} {getattr(annotation, '__name__', '')}"
    if _AWAITABLE.search(text):
        return True
    return None if isinstance(annotation, TypeVar) or _UNKNOWN.search(text) else False


class EarlierSignature(inspect.Signature):
    """The parameters of a function whose code leads elsewhere, for those who ask an earlier reference to it."""

    __slots__ = ()


class HandedOn:
    """An attribute that every class has of its own, and which is to be the function's.

    Args:
        name: the attribute.
        of_class: what the class itself answers.
    """

    def __init__(self, name: str, of_class: object) -> None:
        self._name = name
        self._of_class = of_class

    def __get__(self, instance: Any, owner: type) -> Any:
        return self._of_class if instance is None else getattr(instance._function, self._name)  # noqa: SLF001  # as said

    def __set__(self, instance: Any, value: object) -> None:
        setattr(instance._function, self._name, value)  # noqa: SLF001  # as said


def handed_on(name: str, of_class: object) -> Any:
    """A `HandedOn` that needs no annotation to be of any type: a class with annotations answers for its own."""
    return HandedOn(name, of_class)


class FunctionProxy:
    """Is, to whoever asks, the function behind it. What is set on it is set on the function."""

    __slots__ = ("__weakref__", "_function")
    __doc__ = handed_on("__doc__", __doc__)
    __module__ = handed_on("__module__", __module__)
    __annotations__ = handed_on("__annotations__", {})

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    @property  # `isinstance` asks an object for its class
    def __class__(self) -> type:
        return type(self._function)

    @__class__.setter
    def __class__(self, other: type) -> None:
        raise TypeError(f"{self!r} stays a {type(self._function).__name__}, not a {other.__name__}")

    def __getattr__(self, name: str) -> Any:
        """Whatever else the function has."""
        value = getattr(self._function, name)
        if type(value) is EarlierSignature:  # the function that is asked here has its own code
            raise AttributeError(f"{self!r} has no attribute {name!r}")
        return value

    def __setattr__(self, name: str, value: object) -> None:
        """Set what is the proxy's own here, and everything else on the function."""
        if inspect.getattr_static(self, name, None) is not None:
            object.__setattr__(self, name, value)
        else:
            setattr(self._function, name, value)

    def __delattr__(self, name: str) -> None:
        """Take an attribute from the function."""
        delattr(self._function, name)

    def __dir__(self) -> list[str]:
        """The attributes of the function."""
        return dir(self._function)

    def __reduce__(self) -> str:
        """Pickle by name, as a function does."""
        return str(self._function.__qualname__)


class AwaitableForm(FunctionProxy, Generic[P, R]):
    """The form of a shim for callers that await: a coroutine function with the same parameters.

    It is no `async def`, because the place of a call is known when it is called, not when its task begins.
    """

    __slots__ = ("_begin",)
    __doc__ = handed_on("__doc__", __doc__)
    __module__ = handed_on("__module__", __module__)
    __annotations__ = handed_on("__annotations__", {})

    def __init__(
        self, function: Callable[..., Any], begin: Callable[[tuple[Any, ...], dict[str, Any]], Coroutine[Any, Any, R]]
    ) -> None:
        async def form(*args: Any, **kwargs: Any) -> R:
            return await begin(args, kwargs)

        super().__init__(look_like(form, function))
        self._begin = begin

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Call without blocking the running event loop."""
        return self._begin(args, kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind to an instance, as a function does."""
        return self if instance is None else MethodType(self, instance)


def look_like(
    form: Callable[..., Coroutine[Any, Any, R]], function: Callable[..., Any], suffix: str = ""
) -> Callable[..., Coroutine[Any, Any, R]]:
    """`form` with the name, documentation and parameters of `function`."""
    form.__name__, form.__qualname__ = function.__name__ + suffix, function.__qualname__ + suffix
    form.__doc__, form.__module__ = function.__doc__, function.__module__
    with suppress(ValueError):  # some builtin functions have none
        form.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]  # honoured by inspect
    return form


class BoundShim(functools.partial[R], Generic[Q, R]):
    """A shim bound to an instance, as a method is. A partial, because that adds no frame to a call."""

    __doc__ = handed_on("__doc__", __doc__)
    __module__ = handed_on("__module__", __module__)
    __annotations__ = handed_on("__annotations__", {})

    if TYPE_CHECKING:

        def __call__(self, /, *args: Q.args, **kwargs: Q.kwargs) -> R: ...  # noqa: D102  # a type only

    @property  # as above
    def __class__(self) -> type:
        return MethodType

    @__class__.setter
    def __class__(self, other: type) -> None:
        raise TypeError(f"{self!r} stays a method, not a {other.__name__}")

    @property
    def _function(self) -> Any:
        return self.func

    @property
    def __func__(self) -> Any:
        return self.func

    @property
    def __self__(self) -> Any:
        return self.args[0]

    @property
    def aio(self) -> Callable[Q, Coroutine[Any, Any, R]]:
        """Call without blocking the running event loop."""
        return MethodType(self.__func__.aio, self.__self__)

    def __getattr__(self, name: str) -> Any:
        """What else a method has: the attributes of its function."""
        return getattr(self.func, name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MethodType):
            return NotImplemented
        return bool(self.__func__ == other.__func__) and self.__self__ is other.__self__

    def __hash__(self) -> int:
        return hash(MethodType(self.__func__, self.__self__))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name, as a method does."""
        return getattr, (self.__self__, self.__func__.__name__)

    def __repr__(self) -> str:
        return f"<bound {self.__func__!r} of {self.__self__!r}>"


def twin_of(function: FunctionType) -> FunctionType:
    """A function that does the same and has the very attributes of `function`, for when that gets another code."""
    twin = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__kwdefaults__ = function.__kwdefaults__
    twin.__annotations__ = function.__annotations__
    twin.__qualname__, twin.__doc__, twin.__module__ = function.__qualname__, function.__doc__, function.__module__
    twin.__dict__ = function.__dict__
    return twin


# The depth of recursion

FRAMES_OF_A_CALL = 1 if sys.version_info >= (3, 12) else 2
"""What a nested call through a shim adds to the depth that the interpreter counts: a frame, in 3.11 also a C call."""

STEP = 10
"""Nested calls of a thread after which its interpreter's limit is raised by their `FRAMES_OF_A_CALL`."""

MOST_NESTED_CALLS = 1000
"""Nested calls of a thread for which the limit is raised; their frames take 0.8 MiB of the thread's stack."""


LIMIT_SECONDS = 0.1
"""How long a call waits for another thread that changes the limit, which takes microseconds."""


class _NestedCalls(threading.local):
    """Counts the nested calls of legacy on a thread, so that legacy recurses as deep as without a shim.

    Attributes:
        depth: the calls.
        raised: those for which the limit is raised.
    """

    depth = 0
    raised = 0

    def __enter__(self) -> None:
        depth = self.depth + 1
        if depth % STEP == 0 and self.raised < depth <= MOST_NESTED_CALLS:
            self._raise_for(depth)
        self.depth = depth

    def __exit__(self, *error: object) -> None:
        self.depth = depth = self.depth - 1
        if depth % STEP == 0 and depth < self.raised:
            with suppress(RecursionError):  # the host has set a low limit meanwhile
                self._raise_for(depth)

    def _raise_for(self, depth: int) -> None:
        if _raise_limit(threading.get_ident(), depth * FRAMES_OF_A_CALL):
            self.raised = depth


nested_call = _NestedCalls()
_limit_lock = new_lock()
_raised: dict[int, int] = {}
"""By thread: the frames by which the limit is raised beyond `_hosts_limit`."""

_hosts_limit = 0


def _raise_limit(thread: int, frames: int) -> bool:
    """Raise the limit by so many frames for a thread. What the host has set meanwhile is where that begins.

    Returns:
        Whether it was done: a signal handler may interrupt a call of this very function, and must not wait for it.
    """
    global _hosts_limit  # noqa: PLW0603  # one a process, as the limit is
    if not _limit_lock.acquire(timeout=LIMIT_SECONDS):
        return False
    try:
        if sys.getrecursionlimit() != _hosts_limit + sum(_raised.values()):
            _hosts_limit = sys.getrecursionlimit()
            _raised.clear()
        sys.setrecursionlimit(_hosts_limit + sum(_raised.values()) - _raised.get(thread, 0) + frames)
        _raised[thread] = frames
        if not frames:
            del _raised[thread]
    finally:
        _limit_lock.release()
    return True


# References that were taken earlier

_numbers: weakref.WeakKeyDictionary[FunctionType, int] = weakref.WeakKeyDictionary()
_functions: weakref.WeakValueDictionary[int, FunctionType] = weakref.WeakValueDictionary()
_targets: dict[int, Callable[..., Any]] = {}
_new_number = itertools.count().__next__

_REDIRECTING = """
def factory():
    {closure}
    {kind} redirecting(*_migration_args, **_migration_kwargs):
        {named}
        from migration.routing.likeness import target_of as _migration_target_of
        return {wait} _migration_target_of({number})(*_migration_args, **_migration_kwargs)
    return redirecting
"""


def target_of(number: int) -> Callable[..., Any]:
    """Where the function of this number leads; to itself for a call that entered it before that was undone."""
    target = _targets.get(number)
    return _functions[number] if target is None else target


def redirect(function: FunctionType, target: Callable[..., Any]) -> Callable[[], None]:
    """Lead every reference to `function` to `target`, by exchanging its code.

    Returns:
        Undoes it.
    """
    if function not in _numbers:
        _numbers[function] = _new_number()
        _functions[_numbers[function]] = function
    number, before = _numbers[function], function.__code__
    _targets[number] = target
    asked = inspect.signature(function, follow_wrapped=False)
    if vars(function).keys().isdisjoint({"__wrapped__", "__signature__"}):  # or else it does not speak of its code
        function.__signature__ = EarlierSignature(  # type: ignore[attr-defined]  # honoured by inspect
            tuple(asked.parameters.values()), return_annotation=asked.return_annotation
        )
    function.__code__ = code = _redirecting(before, number)
    redirecting_codes[id(code)] = code

    def undo() -> None:
        function.__code__ = before
        if type(vars(function).get("__signature__")) is EarlierSignature:
            del function.__signature__  # type: ignore[attr-defined]  # as above
        del redirecting_codes[id(code)]
        del _targets[number]

    return undo


def redirected_to(function: object) -> Callable[..., Any] | None:
    """Where the references to `function` are led; None if they are not."""
    number = _numbers.get(function) if type(function) is FunctionType else None
    return None if number is None else _targets.get(number)


def _redirecting(code: CodeType, number: int) -> CodeType:
    """Code that leads to a target. It takes the closure of `code`, as a function demands, and reads nothing of it."""
    free, asynchronous = code.co_freevars, bool(code.co_flags & inspect.CO_COROUTINE)
    source = _REDIRECTING.format(
        closure=" = ".join((*free, "None")),
        named=f"if 0: {', '.join(free)}" if free else "pass",
        kind="async def" if asynchronous else "def",
        wait="await" if asynchronous else "",
        number=number,
    )
    namespace: dict[str, Any] = {}
    exec(source, namespace)  # noqa: S102  # the text above with names that the compiler has found
    made: CodeType = namespace["factory"]().__code__
    return made.replace(
        co_name=code.co_name,
        co_qualname=code.co_qualname,
        co_filename=code.co_filename,
        co_firstlineno=code.co_firstlineno,
    )
