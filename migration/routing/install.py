"""Installs a migration in front of a function: as a decorator, or from outside by the function's name."""

from __future__ import annotations

import functools
import importlib
import inspect
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from operator import attrgetter
from typing import Any, ParamSpec, TypeVar

from migration.forking import new_lock
from migration.model.declaration import Migration
from migration.model.errors import TargetNotFoundError
from migration.routing.likeness import BoundShim, look_like, redirect, redirected_to
from migration.routing.runtime import Runtime
from migration.routing.shim import Shim
from migration.running.propagation import in_thread

P = ParamSpec("P")
R = TypeVar("R")


def migrate(migration: Migration, *, runtime: Runtime | None = None) -> Callable[[Callable[P, R]], Shim[P, R]]:
    """Decorate a legacy function: its callers stay as they are and can also `await f.aio(...)`.

    Args:
        migration: the declaration.
        runtime: decides and observes; the runtime of the process (`use_runtime`) if None.
    """

    def decorate(legacy: Callable[P, R]) -> Shim[P, R]:
        return Shim(migration, legacy, runtime)

    return decorate


def install(target: str, migration: Migration, *, runtime: Runtime | None = None) -> Shim[..., Any]:
    """Put a migration in front of the function at `"pkg.mod:func"` or `"pkg.mod:Class.method"`.

    Every reference to the function is routed, also one that was taken earlier (`from ... import`, a table, a partial).
    A method that the class inherits is migrated for that class alone. An asynchronous twin `name_async` is added beside
    it where there is none, because callers probe for it. Installing again at the same place replaces the migration
    there.

    Raises:
        TargetNotFoundError: there is no such function.
        DeclarationError: it yields its values one by one.
    """
    owner, name = owner_of(target)
    with _lock:
        return _install_at(owner, name, target, migration, runtime)


def _install_at(owner: Any, name: str, target: str, migration: Migration, runtime: Runtime | None) -> Shim[..., Any]:
    found = inspect.getattr_static(owner, name, None)
    if found is None:
        raise TargetNotFoundError(target, f"{owner!r} has no attribute {name!r}")
    function, own = _inner(found), name in vars(owner)
    standing = redirected_to(function) or function
    if isinstance(standing, Shim) and own:
        standing.use(migration, runtime)
        if standing is not function or standing not in _installed:  # another name of it, or a decorated function
            undo = _installed.setdefault(standing, ExitStack())
            undo.callback(setattr, owner, name, _wrapped_as(found, standing.original))
            setattr(owner, name, _wrapped_as(found, standing))
        return standing
    bare: Any = function.legacy if isinstance(function, Shim) else function
    if not inspect.isfunction(bare):
        raise TargetNotFoundError(target, f"it is of type {type(bare).__name__}, not a function")
    shim: Shim[..., Any] = Shim(migration, bare, runtime)
    undo = _installed[shim] = ExitStack()
    if own:
        undo.callback(setattr, owner, name, found)
        undo.callback(redirect(bare, shim))
    else:
        undo.callback(delattr, owner, name)
    setattr(owner, name, _wrapped_as(found, shim))
    _add_twin(owner, name, shim, undo)
    return shim


def uninstall(target: str) -> None:
    """Remove a migration: the legacy function is back in its place, also for who holds the shim.

    Raises:
        TargetNotFoundError: there is no migration at `target`.
    """
    owner, name = owner_of(target)
    with _lock:
        shim = _inner(vars(owner).get(name))
        if not isinstance(shim, Shim):
            raise TargetNotFoundError(target, "no migration is installed there")
        undo = _installed.pop(shim, None)
        if undo is None:  # a decorated function
            undo = ExitStack()
            undo.callback(setattr, owner, name, _wrapped_as(vars(owner)[name], shim.original))
        shim.retire()
        undo.close()


_lock = new_lock()
"""Held while a migration is put somewhere or taken away, or two threads would exchange one function's code at once."""

_installed: weakref.WeakKeyDictionary[Shim[..., Any], ExitStack] = weakref.WeakKeyDictionary()
"""What undoes each installation."""


def shim_at(target: str) -> Shim[..., Any] | None:
    """The shim at a target, if a migration stands there.

    Raises:
        TargetNotFoundError: there is no such module or class.
    """
    owner, name = owner_of(target)
    found = _inner(inspect.getattr_static(owner, name, None))
    return found if isinstance(found, Shim) else None


class _ClassMethod(classmethod):  # type: ignore[type-arg]  # not generic at run time
    """A class method whose bound form has `.aio`."""

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return BoundShim(self.__func__, type(instance) if owner is None else owner)


def _inner(found: Any) -> Any:
    """The function inside a static method or a class method."""
    return found.__func__ if isinstance(found, staticmethod | classmethod) else found


def _wrapped_as(found: Any, function: Callable[..., Any]) -> Any:
    """`function` as what `found` is: a static method, a class method, or itself."""
    if isinstance(found, classmethod):
        return _ClassMethod(function) if isinstance(function, Shim) else classmethod(function)
    return staticmethod(function) if isinstance(found, staticmethod) else function


def owner_of(target: str) -> tuple[Any, str]:
    """The module or class that holds a target, and the target's name there.

    Raises:
        TargetNotFoundError: there is no such module or class.
    """
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise TargetNotFoundError(target, "it does not have two parts")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise TargetNotFoundError(target, str(error)) from error
    outer, _, name = path.rpartition(".")
    try:
        return (attrgetter(outer)(module) if outer else module), name
    except AttributeError as error:
        raise TargetNotFoundError(target, str(error)) from error


def _add_twin(owner: Any, name: str, shim: Shim[..., Any], undo: ExitStack) -> None:
    """Add `name_async`, unless the application has one of its own."""
    twin_name = f"{name}_async"
    existing = _inner(inspect.getattr_static(owner, twin_name, None))
    if existing is not None and not hasattr(existing, "_twin_of"):
        return
    found = vars(owner)[name]
    bound = isinstance(owner, type) and not isinstance(found, staticmethod)

    async def twin(*args: Any, **kwargs: Any) -> Any:
        overriding = getattr(args[0], name, None) if bound and args else None
        if overriding is None or getattr(overriding, "__func__", None) is shim:
            return await shim.aio(*args, **kwargs)
        if inspect.iscoroutinefunction(overriding):
            return await overriding(*args[1:], **kwargs)
        return await in_thread(functools.partial(overriding, *args[1:], **kwargs))

    twin._twin_of = shim  # type: ignore[attr-defined]  # noqa: SLF001  # marks it as this module's
    setattr(owner, twin_name, _wrapped_as(found, look_like(twin, shim.legacy, "_async")))
    undo.callback(delattr, owner, twin_name)
