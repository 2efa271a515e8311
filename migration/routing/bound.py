"""A shim as an instance's method."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from migration.routing.shim import Shim

Q = ParamSpec("Q")
R = TypeVar("R")


class BoundShim(Generic[Q, R]):
    """A shim bound to an instance, as a method is."""

    def __init__(self, shim: Shim[Concatenate[Any, Q], R], instance: object) -> None:
        self.__func__ = shim
        self.__self__ = instance
        self.__wrapped__ = shim.legacy.__get__(instance)
        self.__module__, self.__doc__ = shim.legacy.__module__, shim.legacy.__doc__

    def __call__(self, *args: Q.args, **kwargs: Q.kwargs) -> R:
        """Call as the legacy method is called."""
        return self.__func__(self.__self__, *args, **kwargs)

    def aio(self, *args: Q.args, **kwargs: Q.kwargs) -> Coroutine[Any, Any, R]:
        """Call without blocking the running event loop."""
        return self.__func__.aio(self.__self__, *args, **kwargs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BoundShim):
            return NotImplemented
        return self.__func__ is other.__func__ and self.__self__ is other.__self__

    def __hash__(self) -> int:
        return hash((id(self.__func__), id(self.__self__)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name, as a method does."""
        return getattr, (self.__self__, self.__func__.legacy.__name__)

    def __repr__(self) -> str:
        return f"<bound {self.__func__!r} of {self.__self__!r}>"

    def __getattr__(self, name: str) -> Any:
        """What else a method has (`__name__`, `__doc__`, ...)."""
        return getattr(self.__wrapped__, name)
