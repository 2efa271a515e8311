"""A shim passes for the function that it stands in front of."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import sys
import types
from typing import Any

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
    assert inspect.unwrap(decorated) is legacy_function
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
    assert migrate(Migration(name="m", candidate="a:b"))(marked).timeout == 5  # type: ignore[attr-defined]  # found


def test_any_number_of_shims_are_independent(runtime: Runtime) -> None:
    """Two functions behind one declaration keep their own legacy."""
    migration = Migration(name="m", candidate="a:b")
    shims: list[Shim[[], str]] = [migrate(migration, runtime=runtime)(f) for f in (lambda: "a", lambda: "b")]
    assert [shim() for shim in shims] == ["a", "b"]
