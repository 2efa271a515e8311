"""Whatever fails, the caller gets what legacy would have given, or the very exception of the side that served."""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import itertools
import sys
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from migration import (
    Call,
    CandidateUnavailableError,
    Comparison,
    Decision,
    DeclarationError,
    Migration,
    Notice,
    NoticeKind,
    Operation,
    Reason,
    Runtime,
    Side,
    _candidate,
    migrate,
)
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.helpers import eventually


class NothingSentError(Exception):
    """Proof that nothing was sent."""


def raising(error: BaseException) -> tuple[Callable[[], str], Callable[[], Any]]:
    """A legacy function and a candidate that raise this very object."""

    def legacy() -> str:
        raise error

    async def candidate() -> str:
        raise error

    return legacy, candidate


def caught(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as error:  # noqa: BLE001  # looked at by the test
        return error
    raise AssertionError("nothing was raised")


# Exceptions of the side that served


@pytest.mark.parametrize("awaiting", [False, True])
@pytest.mark.parametrize("side", Side)
def test_exceptions_reach_the_caller_untouched(
    runtime: Runtime, router: FixedRouter, side: Side, *, awaiting: bool
) -> None:
    """The same object: type, text, cause and notes as raised, and a traceback that holds the line that raised it."""
    cause = OSError("disk")
    error = ValueError("File not found: a.txt")
    error.__cause__ = cause
    error.add_note("a note")
    legacy, candidate = raising(error)
    f = migrate(Migration(name="m", candidate=candidate), runtime=runtime)(legacy)
    router.serve = side
    found = caught(lambda: asyncio.run(f.aio()) if awaiting else f())
    assert found is error
    assert str(found) == "File not found: a.txt"
    assert found.__cause__ is cause
    assert found.__notes__ == ["a note"]
    last = traceback.extract_tb(found.__traceback__)[-1]
    assert (last.filename, last.name, last.line) == (__file__, side.value, "raise error")


def test_an_exception_inside_an_except_block_keeps_its_context(runtime: Runtime) -> None:
    """What the caller was handling is the exception's context, as without a shim."""
    legacy, candidate = raising(KeyError("second"))
    f = migrate(Migration(name="m", candidate=candidate), runtime=runtime)(legacy)
    first = ValueError("first")

    def call() -> None:
        try:
            raise first
        except ValueError:
            f()

    assert caught(call).__context__ is first


class Big:
    """Stands for a file's contents in a local variable."""


def traced() -> tuple[Callable[[], str], Callable[[], Any], list[weakref.ref[Big]]]:
    alive: list[weakref.ref[Big]] = []

    def legacy() -> str:
        big = Big()
        alive.append(weakref.ref(big))
        raise ValueError

    async def candidate() -> str:
        return legacy()

    return legacy, candidate, alive


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("side", Side)
def test_a_handled_exception_keeps_no_locals_alive(runtime: Runtime, router: FixedRouter, side: Side) -> None:
    """When the caller has handled it, the raising function's locals are freed at once, not at the next collection."""
    legacy, candidate, alive = traced()
    f = migrate(Migration(name="m", candidate=candidate), runtime=Runtime(router=router))(legacy)
    router.serve = side
    with pytest.raises(ValueError, match=r"^$"):
        f()
    assert eventually(lambda: alive[0]() is None, 2)
    runtime.close()


@pytest.mark.usefixtures("no_collector")
async def test_an_awaited_candidates_exception_keeps_no_locals_alive(router: FixedRouter) -> None:
    """Likewise for callers that await."""
    legacy, candidate, alive = traced()
    runtime = Runtime(router=router)
    f = migrate(Migration(name="m", candidate=candidate), runtime=runtime)(legacy)
    router.serve = Side.CANDIDATE
    with pytest.raises(ValueError, match=r"^$"):
        await f.aio()
    for _ in range(100):
        await asyncio.sleep(0.005)
        if alive[0]() is None:
            break
    assert alive[0]() is None
    await asyncio.to_thread(runtime.close)


# Falling back


@pytest.mark.parametrize("awaiting", [False, True])
@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("raise ImportError('broken')", "ImportError: broken"),
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("class Odd(BaseException): pass\nraise Odd('odd')", "Odd: odd"),
        ("def f(x): pass", "not a coroutine function"),
        ("f = 5", "not a coroutine function"),
        ("", "AttributeError"),
        ("def f(:", "SyntaxError"),
        ("async def f(): return 'too few parameters'", "TypeError"),
        ("async def f(x, *, wanted): return 'too many parameters'", "TypeError"),
    ],
)
def test_a_candidate_that_cannot_be_started_costs_nothing(
    runtime: Runtime,
    router: FixedRouter,
    observer: RecordingObserver,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    problem: str,
    awaiting: bool,
) -> None:
    """Whatever a module does when imported, legacy serves; it is noticed, and counted as the candidate's error."""
    (tmp_path / "new_module.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "new_module", raising=False)
    f = migrate(Migration(name="m", candidate="new_module:f"), runtime=runtime)(lambda x: f"old {x}")
    router.serve = Side.CANDIDATE
    assert (asyncio.run(f.aio(1)) if awaiting else f(1)) == "old 1"
    assert [notice.kind for notice in observer.notices] == [NoticeKind.CANDIDATE_UNAVAILABLE]
    assert problem in observer.notices[0].text
    ended = [(done.side, done.outcome.error_type) for done in observer.operations if done.outcome]
    assert ended == [(Side.CANDIDATE, "CandidateUnavailableError"), (Side.LEGACY, None), (None, None)]
    monkeypatch.delitem(sys.modules, "new_module", raising=False)


def test_the_candidate_is_imported_on_first_use_only(
    runtime: Runtime, router: FixedRouter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the flag is off the new module is not even imported; afterwards it is imported once."""
    (tmp_path / "lazy_module.py").write_text(
        "import pathlib\nwith pathlib.Path(__file__).with_name('imports').open('a') as log: log.write('.')\n"
        "async def f(): return 'new'"
    )
    monkeypatch.syspath_prepend(tmp_path)
    f = migrate(Migration(name="m", candidate="lazy_module:f"), runtime=runtime)(lambda: "old")
    assert f() == "old"
    assert "lazy_module" not in sys.modules
    router.serve = Side.CANDIDATE
    assert [f(), f(), asyncio.run(f.aio())] == ["new"] * 3
    assert (tmp_path / "imports").read_text() == "."
    del sys.modules["lazy_module"]


def test_a_mended_module_is_used_without_a_restart(
    runtime: Runtime, router: FixedRouter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed import is not remembered for ever, but calls are spared another one for a while."""
    monkeypatch.syspath_prepend(tmp_path)
    f = migrate(Migration(name="m", candidate="late_module:f"), runtime=runtime)(lambda: "old")
    now = 0.0
    f.candidate._now = lambda: now
    router.serve = Side.CANDIDATE
    assert f() == "old"
    (tmp_path / "late_module.py").write_text("async def f(): return 'new'")
    importlib.invalidate_caches()
    now = _candidate.RETRY_SECONDS - 1
    assert f() == "old"
    now = _candidate.RETRY_SECONDS
    assert f() == "new"
    del sys.modules["late_module"]


def chained(*errors: Exception) -> Exception:
    for outer, inner in itertools.pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


@pytest.mark.parametrize("awaiting", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        NothingSentError("refused"),
        chained(RuntimeError("Failed to upload"), NothingSentError("refused")),
        chained(RuntimeError("a"), OSError("b"), ValueError("c"), NothingSentError("d")),
    ],
)
def test_a_failure_that_proves_nothing_was_sent_falls_back(
    runtime: Runtime, router: FixedRouter, observer: RecordingObserver, error: Exception, *, awaiting: bool
) -> None:
    """Also when it is only what caused the exception that is raised."""
    _, candidate = raising(error)
    migration = Migration(name="m", candidate=candidate, falls_back_on=(NothingSentError,))
    f = migrate(migration, runtime=runtime)(lambda: "old")
    router.serve = Side.CANDIDATE
    assert (asyncio.run(f.aio()) if awaiting else f()) == "old"
    assert [notice.kind for notice in observer.notices] == [NoticeKind.FELL_BACK]
    assert observer.served() == [Side.LEGACY]


def circular() -> Exception:
    first, second = RuntimeError("first"), OSError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def with_context_only() -> Exception:
    error = RuntimeError("later")
    error.__context__ = NothingSentError("an earlier, handled one")
    return error


@pytest.mark.parametrize("error", [TimeoutError("after 30 s"), ConnectionResetError(), circular(), with_context_only()])
def test_an_ambiguous_failure_does_not_fall_back(runtime: Runtime, router: FixedRouter, error: Exception) -> None:
    """The work may have been done: it is not done again, the caller gets the exception."""
    runs: list[str] = []
    _, candidate = raising(error)
    migration = Migration(name="m", candidate=candidate, falls_back_on=(NothingSentError,))
    f = migrate(migration, runtime=runtime)(lambda: runs.append("legacy"))
    router.serve = Side.CANDIDATE
    assert caught(f) is error
    assert runs == []


def test_a_type_error_inside_the_candidate_is_no_proof(runtime: Runtime, router: FixedRouter) -> None:
    """Only arguments that do not fit prove that nothing has run; a TypeError of the body does not."""
    _, candidate = raising(TypeError("in the middle of the work"))
    f = migrate(Migration(name="m", candidate=candidate), runtime=runtime)(lambda: "old")
    router.serve = Side.CANDIDATE
    with pytest.raises(TypeError, match="in the middle"):
        f()


def test_wrong_arguments_fail_as_legacy_fails(runtime: Runtime, router: FixedRouter) -> None:
    """A caller's own mistake gets legacy's TypeError, whichever side was decided."""

    async def new(x: int) -> int:
        return x

    def old(x: int) -> int:
        return x

    f: Any = migrate(Migration(name="m", candidate=new), runtime=runtime)(old)
    for side in Side:
        router.serve = side
        with pytest.raises(TypeError, match=r"old\(\) missing 1 required positional argument"):
            f()


# Who decides


class Raising:
    def decide(self, call: Call) -> Decision:
        raise LookupError(call.migration)


class Nonsense:
    def decide(self, call: Call) -> Decision:  # noqa: ARG002  # the same for every call
        return True  # type: ignore[return-value]  # the mistake that is tested


@pytest.mark.parametrize(("router", "error"), [(Raising(), "LookupError"), (Nonsense(), "TypeError")])
def test_a_broken_router_means_legacy_and_no_shadow(
    observer: RecordingObserver, router: Raising | Nonsense, error: str
) -> None:
    """The decision shows the reason and the kind of error."""
    f = migrate(Migration(name="m", candidate="a:b"), runtime=Runtime(router=router, observers=[observer]))(lambda: 1)
    assert f() == 1
    decision = observer.operations[-1].decision
    assert (decision.serve, decision.shadow) == (Side.LEGACY, False)
    assert (decision.reason, decision.source, decision.error) == (Reason.ERROR, type(router).__name__, error)


# Who watches


class Hostile:
    """Raises at the chosen moment."""

    def __init__(self, moment: str) -> None:
        self.moment = moment

    def trip(self, moment: str) -> None:
        if moment == self.moment:
            raise RuntimeError(moment)

    def operation(self, operation: Operation) -> AbstractContextManager[object]:
        self.trip("making")
        return self.around(operation)

    @contextmanager
    def around(self, operation: Operation) -> Iterator[None]:
        self.trip("entering")
        try:
            yield
        finally:
            assert operation.outcome is not None
            self.trip("exiting")

    def compared(self, comparison: Comparison) -> None:
        self.trip(f"compared {comparison.verdict}")

    def noticed(self, notice: Notice) -> None:
        self.trip(f"noticed {notice.kind}")


@pytest.mark.parametrize("awaiting", [False, True])
@pytest.mark.parametrize("moment", ["making", "entering", "exiting", "compared dropped", "noticed fell_back"])
def test_observers_that_raise_never_hurt_the_call(
    router: FixedRouter, observer: RecordingObserver, moment: str, *, awaiting: bool
) -> None:
    """In whatever hook: values and exceptions are what they were, other observers see all, the failure is counted."""
    hostile = Hostile(moment)
    runtime = Runtime(router=router, observers=[observer, hostile])
    _, candidate = raising(NothingSentError())
    error = ValueError("legacy's own")
    legacy, _ = raising(error)
    migration = Migration(name="m", candidate=candidate, falls_back_on=(NothingSentError,))
    good, bad = migrate(migration, runtime=runtime)(lambda: "old"), migrate(migration, runtime=runtime)(legacy)
    router.serve, router.shadow = Side.CANDIDATE, True
    assert (asyncio.run(good.aio()) if awaiting else good()) == "old"
    assert caught(lambda: asyncio.run(bad.aio()) if awaiting else bad()) is error
    runtime.close()
    assert observer.served() == [Side.LEGACY, Side.LEGACY]
    assert len(observer.comparisons) == 2
    assert len(observer.notices) == 2
    assert sum(runtime.observers.failures.values()) >= 2
    assert set(runtime.observers.failures) == {"Hostile: RuntimeError"}


def test_an_observer_cannot_swallow_an_exception(runtime: Runtime) -> None:
    """A manager that returns True changes nothing for the caller."""

    class Swallowing(RecordingObserver):
        @contextmanager
        def operation(self, operation: Operation) -> Iterator[None]:  # noqa: ARG002  # swallows whatever it is
            with suppress(BaseException):
                yield

    def interrupted() -> None:
        raise KeyboardInterrupt

    f = migrate(Migration(name="m", candidate="a:b"), runtime=Runtime(observers=[Swallowing()]))(interrupted)
    with pytest.raises(KeyboardInterrupt):
        f()
    runtime.close()


@pytest.mark.parametrize("declared", ["attributes", "facts"])
def test_declared_functions_that_raise_never_hurt_the_call(
    runtime: Runtime, router: FixedRouter, observer: RecordingObserver, declared: str
) -> None:
    """A declaration's own mistakes cost attributes or a comparison, and both are told."""

    def wrong(*_args: object, **_kwargs: object) -> Any:
        raise ZeroDivisionError

    migration = Migration(name="m", candidate="a:b", **{declared: wrong})  # type: ignore[arg-type]  # one of two
    f = migrate(migration, runtime=runtime)(lambda: "old")
    router.shadow = True
    assert f() == "old"
    runtime.close()
    assert len(observer.comparisons) == 1
    if declared == "facts":
        assert "ZeroDivisionError" in observer.comparisons[0].detail
    else:
        assert runtime.observers.failures == {"Migration: ZeroDivisionError": 1}


# Declarations that cannot work


@pytest.mark.parametrize("name", ["", "a b", ".hidden", "ä", "x" * 101, "a\n"])
def test_names_that_no_flag_can_have_are_refused(name: str) -> None:
    """A wrong name fails where it is written, not at the flag server."""
    with pytest.raises(DeclarationError, match="cannot be the name of a flag"):
        Migration(name=name, candidate="a:b")


@pytest.mark.parametrize("candidate", ["module.function", "a:b:c", ""])
def test_candidates_that_name_no_function_are_refused(candidate: str) -> None:
    """A dotted name needs exactly one colon."""
    with pytest.raises(DeclarationError, match="must look like"):
        Migration(name="m", candidate=candidate)


def test_only_synchronous_functions_can_be_legacy() -> None:
    """The colour of legacy is fixed; a coroutine function is refused when it is declared."""

    async def already() -> None: ...

    with pytest.raises(DeclarationError, match="is asynchronous"):
        migrate(Migration(name="m", candidate="a:b"))(already)


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_decorators_in_the_wrong_order_are_refused(kind: Callable[..., Any]) -> None:
    """Above `@staticmethod` a migration would bind to instances; it says so instead."""
    with pytest.raises(DeclarationError, match=f"put the migration below its @{kind.__name__}"):
        migrate(Migration(name="m", candidate="a:b"))(kind(lambda: 1))


def test_callables_without_a_name_are_refused() -> None:
    """What cannot be named cannot be traced."""
    with pytest.raises(DeclarationError, match="a partial has no name"):
        migrate(Migration(name="m", candidate="a:b"))(functools.partial(print))


def test_errors_say_what_happened() -> None:
    """A candidate's error names it and what went wrong."""
    error = CandidateUnavailableError("pkg.mod:func", ImportError("No module named 'x'"))
    assert error.candidate == "pkg.mod:func"
    assert str(error) == "candidate 'pkg.mod:func' is unavailable: ImportError: No module named 'x'"
