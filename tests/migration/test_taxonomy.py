"""Errors are sorted by what went wrong, not by who says it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import json
import socket
import ssl
import sys
from types import ModuleType
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration import CandidateCancelledError, Migration, Runtime, Side, migrate
from migration.model import CauseOr, ErrorKind, Outcome, Taxonomy, kind_of_status, out_of_resources
from migration.model.taxonomy import MAX_CAUSES
from migration.testing import FixedRouter, RecordingObserver


class LibraryError(Exception):
    """Some library's base."""


class SlowLibraryError(LibraryError):
    """More special."""


class VagueError(LibraryError):
    """Its cause says more."""


PYTHON: list[tuple[BaseException, ErrorKind]] = [
    (TimeoutError(), ErrorKind.TIMEOUT),
    (ConnectionRefusedError(), ErrorKind.CONNECTION),
    (socket.gaierror(), ErrorKind.CONNECTION),
    (OSError(errno.ENETUNREACH, ""), ErrorKind.CONNECTION),
    (ConnectionResetError(), ErrorKind.CONNECTION_LOST),
    (BrokenPipeError(), ErrorKind.CONNECTION_LOST),
    (FileNotFoundError(), ErrorKind.BAD_INPUT),
    (PermissionError(), ErrorKind.BAD_INPUT),
    (OSError(errno.ENAMETOOLONG, ""), ErrorKind.BAD_INPUT),
    (ValueError(), ErrorKind.BAD_INPUT),
    (OSError(errno.ENOSPC, ""), ErrorKind.RESOURCE),
    (OSError(errno.EMFILE, ""), ErrorKind.RESOURCE),
    (MemoryError(), ErrorKind.RESOURCE),
    (json.JSONDecodeError("", "", 0), ErrorKind.BAD_ANSWER),
    (asyncio.CancelledError(), ErrorKind.CANCELLED),
    (concurrent.futures.CancelledError(), ErrorKind.CANCELLED),
    (CandidateCancelledError("m"), ErrorKind.CANCELLED),
    (ssl.SSLError(), ErrorKind.UNKNOWN),
    (OSError(errno.EIO, ""), ErrorKind.UNKNOWN),
    (RuntimeError(), ErrorKind.UNKNOWN),
    (KeyError(), ErrorKind.UNKNOWN),
]


E = TypeVar("E", bound=BaseException)


def caused(error: E, cause: BaseException | None) -> E:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(("error", "kind"), PYTHON, ids=lambda value: type(value).__name__)
def test_pythons_own_errors(error: BaseException, kind: ErrorKind) -> None:
    """Known without a declaration, also behind a wrapper that says nothing by itself."""
    assert Taxonomy().kind_of(error) is kind
    assert Taxonomy().kind_of(caused(RuntimeError("wrapped"), error)) is kind


def test_the_nearest_base_and_the_outermost_error_decide() -> None:
    """A special rule goes before a general one; what an error itself says goes before what caused it."""
    taxonomy = Taxonomy({LibraryError: ErrorKind.REJECTED, SlowLibraryError: ErrorKind.TIMEOUT})
    assert taxonomy.kind_of(SlowLibraryError()) is ErrorKind.TIMEOUT
    assert taxonomy.kind_of(VagueError()) is ErrorKind.REJECTED
    assert taxonomy.kind_of(caused(LibraryError(), TimeoutError())) is ErrorKind.REJECTED


def test_a_vague_error_is_what_caused_it() -> None:
    """And what its rule says when the cause is unknown."""
    taxonomy = Taxonomy({VagueError: CauseOr(ErrorKind.CONNECTION_LOST)})
    assert taxonomy.kind_of(caused(VagueError(), ConnectionRefusedError())) is ErrorKind.CONNECTION
    assert taxonomy.kind_of(caused(VagueError(), KeyError())) is ErrorKind.CONNECTION_LOST
    assert taxonomy.kind_of(VagueError()) is ErrorKind.CONNECTION_LOST


def test_what_was_being_handled_counts_unless_it_was_set_aside() -> None:
    """`raise` inside `except` has a context; `from None` says that it does not matter."""

    def time_out() -> None:
        raise TimeoutError

    def failing(*, from_none: bool) -> None:
        try:
            time_out()
        except TimeoutError:
            if from_none:
                raise RuntimeError from None
            raise RuntimeError  # noqa: B904  # the point

    for from_none, kind in ((False, ErrorKind.TIMEOUT), (True, ErrorKind.UNKNOWN)):
        with pytest.raises(RuntimeError) as failed:
            failing(from_none=from_none)
        assert Taxonomy().kind_of(failed.value) is kind


def test_a_group_is_what_its_errors_have_in_common() -> None:
    """Several different failures are no kind of their own."""
    same = ExceptionGroup("", [TimeoutError(), caused(RuntimeError(), TimeoutError())])
    mixed = ExceptionGroup("", [TimeoutError(), ConnectionResetError()])
    assert Taxonomy().kind_of(same) is ErrorKind.TIMEOUT
    assert Taxonomy().kind_of(ExceptionGroup("", [same])) is ErrorKind.TIMEOUT
    assert Taxonomy().kind_of(mixed) is ErrorKind.UNKNOWN


def test_a_rule_can_ask_the_error() -> None:
    """None lets the cause decide; a rule that fails knows nothing."""

    class AnswerError(Exception):
        status = 429

    taxonomy = Taxonomy({AnswerError: lambda error: kind_of_status(getattr(error, "status", 0))})
    assert taxonomy.kind_of(AnswerError()) is ErrorKind.RATE_LIMITED
    silent = Taxonomy({AnswerError: lambda _error: None})
    assert silent.kind_of(caused(AnswerError(), TimeoutError())) is ErrorKind.TIMEOUT
    failing = Taxonomy({AnswerError: lambda error: ErrorKind(str(error))})
    assert failing.kind_of(AnswerError()) is ErrorKind.UNKNOWN


def test_a_class_can_be_named_before_its_module_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name holds from the moment when the module is imported; until then there can be no such error."""
    taxonomy = Taxonomy({"some_client.ReadTimeout": ErrorKind.TIMEOUT, "no.such.Thing": ErrorKind.REJECTED})
    assert "some_client" not in sys.modules
    assert taxonomy.kind_of(KeyError()) is ErrorKind.UNKNOWN
    module = ModuleType("some_client")
    module.ReadTimeout = type("ReadTimeout", (Exception,), {})  # type: ignore[attr-defined]  # made here
    monkeypatch.setitem(sys.modules, "some_client", module)
    assert taxonomy.kind_of(module.ReadTimeout()) is ErrorKind.TIMEOUT


def test_chains_are_looked_at_so_far() -> None:
    """A circular chain ends, and a cause behind the bound is not seen."""
    one, two = RuntimeError(), RuntimeError()
    one.__cause__, two.__cause__ = two, one
    assert Taxonomy().kind_of(one) is ErrorKind.UNKNOWN
    assert not out_of_resources(one)
    for wrappers, kind in ((MAX_CAUSES - 1, ErrorKind.TIMEOUT), (MAX_CAUSES, ErrorKind.UNKNOWN)):
        error: BaseException = TimeoutError()
        for _ in range(wrappers):
            error = caused(RuntimeError(), error)
        assert Taxonomy().kind_of(error) is kind


@given(st.integers(min_value=-1, max_value=1000))
def test_every_status_has_a_kind(status: int) -> None:
    """The classes of HTTP statuses, with those that an operator acts upon apart."""
    kind = kind_of_status(status)
    if status in {401, 403}:
        assert kind is ErrorKind.UNAUTHORISED
    elif status == 429:
        assert kind is ErrorKind.RATE_LIMITED
    elif 400 <= status < 500:
        assert kind is ErrorKind.REJECTED
    else:
        assert kind is (ErrorKind.SERVER_FAILED if status >= 500 else ErrorKind.BAD_ANSWER)


@pytest.mark.parametrize("side", Side)
def test_observers_see_the_kind(runtime: Runtime, router: FixedRouter, observer: RecordingObserver, side: Side) -> None:
    """The outcome of the run, and of the call, carry it; the caller gets the exception itself."""
    raised = LibraryError("slow")

    async def candidate() -> None:
        raise raised

    def legacy() -> None:
        raise raised

    router.serve = side
    taxonomy = Taxonomy({LibraryError: ErrorKind.TIMEOUT})
    shim = migrate(Migration(name="m", candidate=candidate, taxonomy=taxonomy), runtime=runtime)(legacy)
    with pytest.raises(LibraryError) as failed:
        shim()
    assert failed.value is raised
    assert [done.outcome and done.outcome.error_kind for done in observer.operations] == [ErrorKind.TIMEOUT] * 2


def test_success_has_no_kind() -> None:
    """An outcome without an error stays the very object that it was."""
    outcome: Outcome[int] = Outcome(side=Side.LEGACY, seconds=0.0, value=1)
    assert Migration(name="m", candidate="a:b").classified(outcome) is outcome
