"""A migration is put in front of a function without its callers changing, and taken away again."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import gc
import inspect
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from migration import Migration, Runtime, Side, install, uninstall
from migration.model import TargetNotFoundError
from migration.testing import FixedRouter, RecordingObserver

MONOLITH = '''
import functools

def upload(path, storage, purpose="file-extract"):
    """Upload one file."""
    return ("old", path, purpose)

def call():
    return upload("a.txt", None)

async def already_async(): ...

constant = 5

def query(question):
    return "old"

async def query_async(question):
    return "the module's own"

class Base:
    def _run(self, files):
        """Upload several."""
        return ("old", type(self).__name__, files)

    def shared(self):
        return "old shared"

class Tool(Base):
    prefix = "tool"

    def run(self, file, *, purpose=""):
        return ("old", self.prefix, file)

    def ask(self):
        return "old"

    async def ask_async(self):
        return "the class's own"

    @staticmethod
    def check(path):
        return ("old", path)

    @classmethod
    def build(cls):
        return cls()

    @property
    def size(self):
        return 1

class Special(Tool):
    def run(self, file, *, purpose=""):
        return ("special", *super().run(file, purpose=purpose))
'''


@pytest.fixture
def monolith() -> Iterator[Any]:
    """A module of an application, importable as `monolith`."""
    module = types.ModuleType("monolith")
    sys.modules["monolith"] = module
    exec(MONOLITH, vars(module))  # noqa: S102  # the text above
    yield module
    del sys.modules["monolith"]


@pytest.fixture
def migration(router: FixedRouter) -> Migration:
    router.serve = Side.CANDIDATE

    async def new(*args: object, **kwargs: object) -> tuple[object, ...]:
        return ("new", *args, *kwargs.values())

    return Migration(name="m", candidate=new)


def test_callers_of_a_function_are_routed_unchanged(
    monolith: Any, migration: Migration, runtime: Runtime, router: FixedRouter
) -> None:
    """Calls by name from its own module and from outside go through the shim, in both directions."""
    install("monolith:upload", migration, runtime=runtime)
    assert monolith.call() == ("new", "a.txt", None)
    router.serve = Side.LEGACY
    assert monolith.call() == ("old", "a.txt", "file-extract")


def test_a_method_is_bound_as_before(monolith: Any, migration: Migration, runtime: Runtime) -> None:
    """Through an instance, through the class, through `super()`; instances made earlier included."""
    earlier = monolith.Tool()
    install("monolith:Tool.run", migration, runtime=runtime)
    assert earlier.run("a", purpose="p") == ("new", earlier, "a", "p")
    assert monolith.Tool.run(earlier, "a") == ("new", earlier, "a")
    special = monolith.Special()
    assert special.run("a") == ("special", "new", special, "a", "")
    assert asyncio.run(earlier.run.aio("a")) == ("new", earlier, "a")


def test_an_inherited_method_is_migrated_for_that_class_alone(
    monolith: Any, migration: Migration, runtime: Runtime
) -> None:
    """Its base and the base's other children keep legacy; afterwards the class inherits again."""
    install("monolith:Tool._run", migration, runtime=runtime)
    tool = monolith.Tool()
    assert tool._run(["a"]) == ("new", tool, ["a"])
    assert asyncio.run(tool._run_async(["a"])) == ("new", tool, ["a"])
    assert monolith.Base()._run(["a"]) == ("old", "Base", ["a"])
    uninstall("monolith:Tool._run")
    assert "_run" not in vars(monolith.Tool)
    assert not hasattr(tool, "_run_async")
    assert tool._run(["a"]) == ("old", "Tool", ["a"])


def test_base_and_child_can_both_be_migrated(
    monolith: Any, migration: Migration, runtime: Runtime, router: FixedRouter
) -> None:
    """Taking the child's away leaves the base's in force for it, twin included."""
    install("monolith:Base.shared", migration, runtime=runtime)
    install("monolith:Tool.shared", migration, runtime=runtime)
    tool = monolith.Tool()
    uninstall("monolith:Tool.shared")
    assert tool.shared() == ("new", tool)
    assert asyncio.run(tool.shared_async()) == ("new", tool)
    with pytest.raises(TargetNotFoundError, match="no migration is installed there"):
        uninstall("monolith:Tool.shared")
    uninstall("monolith:Base.shared")
    router.serve = Side.CANDIDATE
    assert tool.shared() == "old shared"


def test_a_static_method_stays_static(monolith: Any, migration: Migration, runtime: Runtime) -> None:
    """Neither it nor its twin gets an instance."""
    install("monolith:Tool.check", migration, runtime=runtime)
    assert monolith.Tool.check("a") == monolith.Tool().check("a") == ("new", "a")
    assert asyncio.run(monolith.Tool().check_async("a")) == ("new", "a")
    uninstall("monolith:Tool.check")
    assert monolith.Tool().check("a") == ("old", "a")
    assert isinstance(vars(monolith.Tool)["check"], staticmethod)


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("monolith", "it does not have two parts"),
        (":upload", "it does not have two parts"),
        ("monolith:", "it does not have two parts"),
        ("no.such.module:f", "No module named"),
        ("monolith:missing", "has no attribute 'missing'"),
        ("monolith:Missing.run", "has no attribute 'Missing'"),
        ("monolith:constant", "it is of type int, not a function"),
        ("monolith:Tool", "it is of type type, not a function"),
        ("monolith:Tool.size", "it is of type property, not a function"),
        ("monolith:functools.reduce", "not a function"),
    ],
)
@pytest.mark.usefixtures("monolith")
def test_targets_that_are_no_function_are_refused(migration: Migration, target: str, problem: str) -> None:
    """One typed error that names the target, the problem, and what is expected."""
    with pytest.raises(TargetNotFoundError, match=problem) as found:
        install(target, migration)
    assert found.value.target == target
    assert "expected 'pkg.mod:func'" in str(found.value)


# Twins


@pytest.mark.parametrize(("target", "twin"), [("Tool._run", "_run_async"), ("Tool.run", "run_async")])
def test_an_asynchronous_twin_appears_and_disappears(
    monolith: Any, migration: Migration, runtime: Runtime, router: FixedRouter, *, target: str, twin: str
) -> None:
    """Callers that probe for `NAME_async` find a coroutine function, routed like the rest."""
    tool = monolith.Tool()
    install(f"monolith:{target}", migration, runtime=runtime)
    method = getattr(tool, twin)
    assert inspect.iscoroutinefunction(method)
    assert asyncio.run(method("a")) == ("new", tool, "a")
    router.serve = Side.LEGACY
    assert asyncio.run(method("a"))[0] == "old"
    assert inspect.signature(method) == inspect.signature(getattr(tool, target.partition(".")[2]))
    assert method.__qualname__.endswith(twin)
    uninstall(f"monolith:{target}")
    assert not hasattr(tool, twin)


def test_an_own_twin_is_left_alone(monolith: Any, migration: Migration, runtime: Runtime) -> None:
    """What the application has is not replaced, and not removed either."""
    tool = monolith.Tool()
    for target in ("monolith:Tool.ask", "monolith:query"):
        install(target, migration, runtime=runtime)
    assert asyncio.run(tool.ask_async()) == "the class's own"
    assert asyncio.run(monolith.query_async("?")) == "the module's own"
    for target in ("monolith:Tool.ask", "monolith:query"):
        uninstall(target)
    assert asyncio.run(tool.ask_async()) == "the class's own"
    assert asyncio.run(monolith.query_async("?")) == "the module's own"


def test_a_twin_honours_an_override(monolith: Any, migration: Migration, runtime: Runtime) -> None:
    """A subclass that scans, encrypts or counts what it sends does so for callers that await as well."""

    class Scanning(monolith.Tool):  # type: ignore[misc]  # of type Any
        def run(self, file: str, *, purpose: str = "") -> object:
            if file == "virus":
                raise ValueError(file)
            return super().run(file, purpose=purpose)

    class Awaiting(monolith.Tool):  # type: ignore[misc]  # of type Any
        async def run(self, file: str, *, purpose: str = "") -> object:
            return "awaiting", file, purpose

    install("monolith:Tool.run", migration, runtime=runtime)
    scanning = Scanning()
    with pytest.raises(ValueError, match="virus"):
        asyncio.run(scanning.run_async("virus"))
    assert asyncio.run(scanning.run_async("a", purpose="p")) == ("new", scanning, "a", "p")
    assert asyncio.run(Awaiting().run_async("a")) == ("awaiting", "a", "")
    assert asyncio.run(monolith.Tool.run_async(scanning, "a")) == ("new", scanning, "a", "")


def test_a_class_method_is_bound_to_its_class(
    monolith: Any, migration: Migration, runtime: Runtime, router: FixedRouter
) -> None:
    """Through the class, a subclass and an instance, called and awaited; afterwards it is the very object again."""
    before = vars(monolith.Tool)["build"]
    install("monolith:Tool.build", migration, runtime=runtime)
    for owner in (monolith.Tool, monolith.Special):
        assert owner.build() == owner().build() == ("new", owner)
        assert asyncio.run(owner.build.aio()) == asyncio.run(owner.build_async()) == ("new", owner)
    router.serve = Side.LEGACY
    assert type(monolith.Special.build()) is monolith.Special
    uninstall("monolith:Tool.build")
    assert vars(monolith.Tool)["build"] is before
    assert type(monolith.Special.build()) is monolith.Special


# References that were taken earlier


def test_a_function_under_two_names_has_one_shim(monolith: Any, migration: Migration, runtime: Runtime) -> None:
    """A package that offers a function of a module again is the same place: the later declaration holds for both."""
    package = types.ModuleType("package")
    package.upload = monolith.upload  # type: ignore[attr-defined]  # from monolith import upload
    sys.modules["package"] = package
    install("monolith:upload", migration, runtime=runtime)
    install("package:upload", Migration(name="n", candidate=migration.candidate), runtime=runtime)
    assert monolith.upload("a", None) == package.upload("a", None) == ("new", "a", None)
    assert monolith.upload.migration.name == "n"
    uninstall("monolith:upload")
    assert monolith.upload("a", None) == package.upload("a", None) == ("old", "a", "file-extract")
    del sys.modules["package"]


def test_every_earlier_reference_is_routed(monolith: Any, migration: Migration, runtime: Runtime) -> None:
    """An import by name, a table, a partial, a default, a closure: all lead to the shim, and afterwards to legacy."""
    taken = monolith.upload
    monolith.table = {"upload": taken}

    def with_default(path: str, function: Any = taken) -> Any:
        return function(path, None)

    ways: list[Callable[[], object]] = [
        lambda: taken("a", None),
        lambda: monolith.table["upload"]("a", None),
        functools.partial(taken, "a", None),
        lambda: with_default("a"),
        lambda: monolith.upload("a", None),
    ]
    install("monolith:upload", migration, runtime=runtime)
    assert [way() for way in ways] == [("new", "a", None)] * len(ways)
    uninstall("monolith:upload")
    assert [way() for way in ways] == [("old", "a", "file-extract")] * len(ways)
    assert taken is monolith.upload


def test_an_earlier_reference_answers_for_itself(monolith: Any, migration: Migration, runtime: Runtime) -> None:
    """A framework that was given the function before the installation finds its parameters in it, and so in methods."""
    taken, method = monolith.upload, monolith.Tool().run
    questions: tuple[Callable[[Any], object], ...] = (inspect.signature, inspect.getfullargspec)
    before = [[ask(each) for ask in questions] for each in (taken, method)]
    for target in ("monolith:upload", "monolith:Tool.run"):
        install(target, migration, runtime=runtime)
    assert [[ask(each) for ask in questions] for each in (taken, method)] == before
    assert not hasattr(monolith.upload, "__signature__")
    for target in ("monolith:upload", "monolith:Tool.run"):
        uninstall(target)
    assert [[ask(each) for ask in questions] for each in (taken, method)] == before
    assert vars(taken) == {}


def test_what_was_kept_by_the_function_is_found_by_the_shim(
    monolith: Any, migration: Migration, runtime: Runtime
) -> None:
    """And the other way about: registries have functions and methods as keys, and take listeners off by equality."""
    tool = monolith.Tool()
    before = {monolith.upload: "function", tool.run: "method"}
    listeners = [monolith.upload, tool.run]
    for target in ("monolith:upload", "monolith:Tool.run"):
        install(target, migration, runtime=runtime)
    assert (before[monolith.upload], before[tool.run]) == ("function", "method")
    for each in (monolith.upload, tool.run):
        listeners.remove(each)
    after = {monolith.upload: "function", tool.run: "method"}
    shim = monolith.upload
    for target in ("monolith:upload", "monolith:Tool.run"):
        uninstall(target)
    assert (after[monolith.upload], after[tool.run]) == ("function", "method")
    assert shim != monolith.query
    assert shim != 5


def test_threads_that_install_at_once_make_one_shim(monolith: Any, migration: Migration, runtime: Runtime) -> None:
    """Every thread of a pool may do so as its first work."""
    original, interval = monolith.upload, sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                barrier = threading.Barrier(8)

                def work(barrier: threading.Barrier = barrier) -> object:
                    barrier.wait()
                    return install("monolith:upload", migration, runtime=runtime)

                shims = {id(each.result()) for each in [pool.submit(work) for _ in range(8)]}
            assert len(shims) == 1
            assert original("a", None) == ("new", "a", None)
            uninstall("monolith:upload")
            assert original("a", None) == ("old", "a", "file-extract")
            assert monolith.upload is original
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("name", ["upload", "already_async"])
def test_the_place_of_a_call_through_an_earlier_reference(
    monolith: Any, migration: Migration, runtime: Runtime, observer: RecordingObserver, name: str
) -> None:
    """It is the caller's line, not that of the function that leads to the shim."""
    taken = getattr(monolith, name)
    install(f"monolith:{name}", migration, runtime=runtime)
    if inspect.iscoroutinefunction(taken):
        asyncio.run(taken())
    else:
        taken("a", None)
    assert {operation.call.site.file for operation in observer.operations} == {
        __file__ if name == "upload" else asyncio.events.__file__
    }


def test_an_earlier_reference_to_a_closure_is_routed(monolith: Any, migration: Migration, runtime: Runtime) -> None:
    """Also of a function with variables of an outer one, and of a method that says `super()`."""

    def make(prefix: str, args: str) -> Any:
        return lambda path: (prefix, args, path)

    monolith.closure = taken = make("old", "more")
    early = monolith.Special.run
    install("monolith:closure", migration, runtime=runtime)
    install("monolith:Special.run", migration, runtime=runtime)
    special = monolith.Special()
    assert taken("a") == ("new", "a")
    assert early(special, "a") == ("new", special, "a")
    uninstall("monolith:closure")
    uninstall("monolith:Special.run")
    assert taken("a") == ("old", "more", "a")
    assert early(special, "a") == ("special", "old", "tool", "a")


def test_who_holds_the_shim_follows(monolith: Any, migration: Migration, runtime: Runtime) -> None:
    """An import after the installation goes with the next declaration, and is plain legacy after the last."""
    install("monolith:upload", migration, runtime=runtime)
    taken = monolith.upload

    async def newest(path: str, storage: object) -> tuple[str, str, object]:
        return "newest", path, storage

    install("monolith:upload", Migration(name="n", candidate=newest), runtime=runtime)
    assert taken("a", None) == ("newest", "a", None)
    uninstall("monolith:upload")
    assert taken("a", None) == ("old", "a", "file-extract")
    assert asyncio.run(taken.aio("a", None)) == ("old", "a", "file-extract")


# Taking away


def test_a_call_that_began_before_uninstalling_is_legacys(
    monolith: Any, migration: Migration, runtime: Runtime
) -> None:
    """A coroutine of an earlier reference that runs only afterwards."""
    taken = monolith.already_async
    install("monolith:already_async", migration, runtime=runtime)
    begun = taken()
    uninstall("monolith:already_async")
    assert asyncio.run(begun) is None


def test_what_was_migrated_once_is_not_kept(migration: Migration, runtime: Runtime) -> None:
    """A plugin that is unloaded leaves the memory."""

    def use_plugin() -> weakref.ref[Any]:
        plugin = types.ModuleType("plugin")
        exec("def upload(path): ...", vars(plugin))  # noqa: S102  # the text beside it
        sys.modules["plugin"] = plugin
        install("plugin:upload", migration, runtime=runtime)
        uninstall("plugin:upload")
        del sys.modules["plugin"]
        return weakref.ref(plugin.upload)

    function = use_plugin()
    gc.collect()
    assert function() is None


def test_uninstalling_restores_the_very_function(monolith: Any, migration: Migration, runtime: Runtime) -> None:
    """However often it was installed, what stands there afterwards is the object that stood there before."""
    before = dict(vars(monolith)), dict(vars(monolith.Tool))
    for _ in range(2):
        install("monolith:upload", migration, runtime=runtime)
        install("monolith:Tool.run", migration, runtime=runtime)
    uninstall("monolith:upload")
    uninstall("monolith:Tool.run")
    assert (dict(vars(monolith)), dict(vars(monolith.Tool))) == before


@pytest.mark.parametrize("target", ["monolith:upload", "monolith:missing", "monolith:Tool.check", "monolith:constant"])
@pytest.mark.usefixtures("monolith")
def test_uninstalling_what_is_not_installed_is_refused(target: str) -> None:
    """Nothing is touched where no migration stands."""
    with pytest.raises(TargetNotFoundError, match="no migration is installed there"):
        uninstall(target)
