"""Legacy serves in the candidate's place exactly where that is proven to be safe."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from migration import Migration, Runtime, Side, migrate
from migration.model import CandidateUnavailableError, NoticeKind
from migration.running import candidate as _candidate
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.helpers import eventually, in_thread
from tests.migration.raising import NothingSentError, caught, raising


@pytest.mark.parametrize("awaiting", [False, True])
@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("raise ImportError('broken')", "ImportError: broken"),
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("class Odd(BaseException): pass\nraise Odd('odd')", "Odd: odd"),
        ("def f(x): yield x", "yields its values one by one"),
        ("async def f(x): yield x", "yields its values one by one"),
        ("f = 5", "a value of type int cannot be called"),
        ("def f(): return 'too few parameters'", "TypeError"),
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


def test_errors_say_what_happened() -> None:
    """A candidate's error names it and what went wrong."""
    error = CandidateUnavailableError("pkg.mod:func", ImportError("No module named 'x'"))
    assert error.candidate == "pkg.mod:func"
    assert str(error) == "candidate 'pkg.mod:func' is unavailable: ImportError: No module named 'x'"


@pytest.mark.parametrize("awaiting", [False, True])
def test_a_thread_that_cannot_be_started_means_legacy(
    router: FixedRouter, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, *, awaiting: bool
) -> None:
    """The system is out of threads: legacy serves, until a second after the loop can be started."""

    async def new() -> str:
        return "new"

    def start(thread: threading.Thread) -> None:
        if thread.name == "migration-candidate":
            raise RuntimeError("can't start new thread")
        started(thread)

    started = threading.Thread.start
    f = migrate(Migration(name="m", candidate=new), runtime=runtime)(lambda: "old")
    router.serve = Side.CANDIDATE

    def call() -> str:
        return asyncio.run(f.aio()) if awaiting else f()

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        assert [in_thread(call).result(10) for _ in range(2)] == ["old", "old"]
    assert eventually(lambda: call() == "new")
