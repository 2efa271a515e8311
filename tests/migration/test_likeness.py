"""A shim passes for the function that it stands in front of."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
import sys
import types
import typing
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from migration import Migration, Runtime, migrate
from migration.routing import Shim


def legacy(path: str, *, purpose: str = "file-extract") -> tuple[str, str]:
    """Upload one file."""
    return path, purpose


decorated = migrate(Migration(name="m", candidate="a:b"))(legacy)
legacy_function, legacy = legacy, decorated


class Holder:
    """A class with a decorated method; picklable."""

    def __init__(self, number: int = 1) -> None:
        self.number = number

    @migrate(Migration(name="m", candidate="a:b"))
    def run(self, file: str) -> tuple[int, str]:
        """Run once."""
        return self.number, file


def test_a_shim_looks_like_its_function() -> None:
    """Name, documentation, module, signature, annotations; its text says what stands in front."""
    assert (decorated.__name__, decorated.__doc__) == ("legacy", "Upload one file.")
    assert decorated.__module__ == __name__
    assert inspect.signature(decorated) == inspect.signature(legacy_function)
    assert inspect.unwrap(decorated) is decorated
    assert callable(decorated)
    assert repr(decorated) == f"<{__name__}:legacy behind migration 'm'>"


def test_a_bound_shim_looks_like_its_method() -> None:
    """Likewise, without `self`; two look-ups of one method are equal, as those of a method are."""
    holder = Holder()
    assert (holder.run.__name__, holder.run.__doc__) == ("run", "Run once.")
    assert list(inspect.signature(holder.run).parameters) == ["file"]
    assert holder.run == holder.run  # two look-ups make two objects
    assert hash(holder.run) == hash(holder.run)
    assert holder.run != Holder().run
    assert holder.run != 5
    assert {holder.run: 1}[holder.run] == 1
    assert "behind migration 'm'" in repr(holder.run)
    assert Holder.run is vars(Holder)["run"]
    with pytest.raises(AttributeError):
        holder.run.missing  # noqa: B018  # type: ignore[attr-defined]  # the look-up is the test


def plain(path: str, purpose: str = "agent", *more: int, retries: int = 3, **rest: object) -> str:
    """A function with every kind of parameter."""
    return f"{path} {purpose} {more} {retries} {rest}"


async def asynchronous(path: str, purpose: str = "agent") -> str:
    """A coroutine function."""
    return f"{path} {purpose}"


QUESTIONS: dict[str, Callable[[Any], object]] = {
    "signature": inspect.signature,
    "getfullargspec": inspect.getfullargspec,
    "isfunction": inspect.isfunction,
    "isroutine": inspect.isroutine,
    "iscoroutinefunction": inspect.iscoroutinefunction,
    "asyncio.iscoroutinefunction": asyncio.iscoroutinefunction,
    "isgeneratorfunction": inspect.isgeneratorfunction,
    "isinstance": lambda f: isinstance(f, types.FunctionType),
    "getsource": inspect.getsource,
    "getfile": inspect.getfile,
    "getdoc": inspect.getdoc,
    "getmodule": inspect.getmodule,
    "type hints": typing.get_type_hints,
    "attributes": vars,
    "dir": dir,
    "names": lambda f: (f.__name__, f.__qualname__, f.__module__),
    "code": lambda f: f.__code__,
    "defaults": lambda f: (f.__defaults__, f.__kwdefaults__),
    "globals": lambda f: f.__globals__,
    "closure": lambda f: f.__closure__,
    "unwrapped": lambda f: hasattr(inspect.unwrap(f), "__wrapped__"),
    "wrapped": lambda f: inspect.signature(functools.wraps(f)(lambda *_: None)),
    "partial": lambda f: inspect.signature(functools.partial(f, "a")),
    "autospec": lambda f: inspect.signature(mock.create_autospec(f)),
}


@pytest.mark.parametrize("function", [plain, asynchronous])
@pytest.mark.parametrize("question", QUESTIONS)
def test_whoever_asks_gets_the_functions_answer(function: Callable[..., Any], question: str) -> None:
    """What libraries look at in a function is the same on the shim."""
    ask = QUESTIONS[question]
    assert ask(migrate(Migration(name="m", candidate="a:b"))(function)) == ask(function)


METHOD_QUESTIONS: dict[str, Callable[[Any], object]] = {
    "signature": inspect.signature,
    "getfullargspec": inspect.getfullargspec,
    "ismethod": inspect.ismethod,
    "isinstance": lambda m: isinstance(m, types.MethodType),
    "getdoc": inspect.getdoc,
    "names": lambda m: (m.__name__, m.__qualname__, m.__module__),
    "self": lambda m: m.__self__.number,
    "code": lambda m: m.__func__.__code__,
    "defaults": lambda m: m.__defaults__,
    "autospec": lambda m: inspect.signature(mock.create_autospec(m)),
}


@pytest.mark.parametrize("question", METHOD_QUESTIONS)
def test_a_bound_method_answers_likewise(question: str) -> None:
    """And so does the method of an instance."""

    class Tool:
        number = 7

        def run(self, file: str, *, retries: int = 3) -> str:
            """Run once."""
            return file * retries

    before = METHOD_QUESTIONS[question](Tool().run)
    Tool.run = migrate(Migration(name="m", candidate="a:b"))(Tool.run)  # type: ignore[method-assign]  # what is tested
    assert METHOD_QUESTIONS[question](Tool().run) == before
    assert [name for name, _ in inspect.getmembers(Tool, inspect.isfunction) if name == "run"] == ["run"]


def test_the_awaitable_form_is_a_coroutine_function() -> None:
    """Frameworks that take a handler await it, and read its parameters."""
    holder = Holder()
    for form, names in ((decorated.aio, ["path", "purpose"]), (holder.run.aio, ["file"])):
        assert inspect.iscoroutinefunction(form)
        assert asyncio.iscoroutinefunction(form)
        assert list(inspect.signature(form).parameters) == names
    assert decorated.aio is decorated.aio
    assert decorated.aio.__name__ == "legacy"


def test_what_is_set_on_a_shim_is_set_on_its_function() -> None:
    """And removed from it: the function itself reads what frameworks hang on it."""

    def counting() -> int:
        counting.calls = getattr(counting, "calls", 0) + 1  # type: ignore[attr-defined]  # what is tested
        return counting.calls  # type: ignore[attr-defined,no-any-return]  # as above

    shim: Any = migrate(Migration(name="m", candidate="a:b"))(counting)
    shim.calls = 5
    assert shim() == 6
    assert shim.calls == counting.calls == 6  # type: ignore[attr-defined]  # as above
    del shim.calls
    assert not hasattr(counting, "calls")
    for name in ("__doc__", "__name__", "__qualname__"):  # as decorators do
        setattr(shim, name, "other")
        assert getattr(shim, name) == "other"
    functools.update_wrapper(shim, plain)
    assert (shim.__name__, shim.__doc__) == (plain.__name__, plain.__doc__)
    with pytest.raises(TypeError, match="stays a function"):
        shim.__class__ = int


def test_a_mock_takes_its_place_and_leaves_it() -> None:
    """`patch.object(..., autospec=True)` checks the arguments, and the shim is back afterwards."""
    before = vars(Holder)["run"]
    with mock.patch.object(Holder, "run", autospec=True) as patched:
        Holder().run("a")
        patched.assert_called_once()
        with pytest.raises(TypeError):
            Holder().run()  # type: ignore[call-arg]  # what is tested
    assert vars(Holder)["run"] is before


def through_pickle(thing: object, protocol: int) -> Any:
    return pickle.loads(pickle.dumps(thing, protocol))  # noqa: S301  # made a moment ago


@pytest.mark.parametrize("protocol", range(4, pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_is_by_name(monkeypatch: pytest.MonkeyPatch, protocol: int) -> None:
    """Functions and methods behind a migration cross process boundaries as before."""
    module = types.ModuleType("pickled_by_name")
    monkeypatch.setitem(sys.modules, "pickled_by_name", module)
    for thing in (decorated, Holder):
        monkeypatch.setattr(thing, "__module__", "pickled_by_name")
    monkeypatch.setattr(module, "legacy", decorated, raising=False)
    monkeypatch.setattr(module, "Holder", Holder, raising=False)
    assert through_pickle(decorated, protocol) is decorated
    method = through_pickle(Holder(7).run, protocol)
    assert method("a") == (7, "a")
    assert asyncio.run(method.aio("a")) == (7, "a")
    assert copy.deepcopy(decorated) is decorated
    assert copy.copy(Holder(8).run)("a") == (8, "a")


def test_attributes_of_a_function_stay_readable() -> None:
    """What frameworks hang on functions is found on the shim."""

    def marked() -> None: ...

    marked.timeout = 5  # type: ignore[attr-defined]  # hung on
    assert migrate(Migration(name="m", candidate="a:b"))(marked).timeout == 5


def test_any_number_of_shims_are_independent(runtime: Runtime) -> None:
    """Two functions behind one declaration keep their own legacy."""
    migration = Migration(name="m", candidate="a:b")
    shims: list[Shim[[], str]] = [migrate(migration, runtime=runtime)(f) for f in (lambda: "a", lambda: "b")]
    assert [shim() for shim in shims] == ["a", "b"]
