"""Sorts errors into kinds, so that failures of different client libraries are compared and counted alike."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from migration.model.errors import CandidateCancelledError

MAX_CAUSES = 20
"""Errors that are looked at in a chain of causes, which can be circular."""

MAX_NESTED_GROUPS = 2
"""Exception groups inside exception groups that are looked into."""


class ErrorKind(StrEnum):
    """What went wrong, whichever library says it."""

    TIMEOUT = "timeout"  # no answer in time on a connection that was made; the work may have been done
    CONNECTION = "connection"  # the last attempt's connection was never made; `falls_back_on` is what proves something
    CONNECTION_LOST = "connection_lost"  # it broke before the answer was complete; the work may have been done
    UNAUTHORISED = "unauthorised"  # 401, 403, or no key
    RATE_LIMITED = "rate_limited"  # 429: too much was asked
    REJECTED = "rejected"  # any other 4xx: the request was refused
    SERVER_FAILED = "server_failed"  # 5xx
    BAD_ANSWER = "bad_answer"  # an answer that cannot be used
    BAD_INPUT = "bad_input"  # the arguments, or the file that they name; nothing was sent
    INTEGRITY = "integrity"  # what was stored is not there, or is not what was sent
    RESOURCE = "resource"  # memory, disk or descriptors of this machine
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class CauseOr:
    """A rule for errors whose cause says more; `otherwise` holds when no cause is known."""

    otherwise: ErrorKind


KindRule = ErrorKind | CauseOr | Callable[[BaseException], ErrorKind | None]
"""A kind, or a function that gives it; None means that the cause decides."""


def _decided(rules: Mapping[type, KindRule], error: BaseException, *, groups: int) -> ErrorKind | None:
    """The kind of the first error of the chain that has one; of a group, the kind that all in it share."""
    otherwise: ErrorKind | None = None
    for each in chain_of(error):
        if isinstance(each, BaseExceptionGroup):
            inner = each.exceptions[:MAX_CAUSES] if groups else ()
            kinds = {_decided(rules, one, groups=groups - 1) for one in inner}
            return (kinds.pop() if len(kinds) == 1 else None) or otherwise
        rule = next((rules[base] for base in type(each).__mro__ if base in rules), None)
        if isinstance(rule, CauseOr):
            otherwise = otherwise or rule.otherwise
            continue
        kind = rule if rule is None or isinstance(rule, ErrorKind) else _by_function(rule, each)
        if kind is not None:
            return kind
    return otherwise


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from (or while handling), and so on; at most `MAX_CAUSES`."""
    each: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if each is None:
            return
        yield each
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)


def kind_of_status(status: int) -> ErrorKind:
    """The kind of an HTTP status that is no success."""
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return ErrorKind.UNAUTHORISED
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return ErrorKind.RATE_LIMITED
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ErrorKind.SERVER_FAILED
    return ErrorKind.REJECTED if status >= HTTPStatus.BAD_REQUEST else ErrorKind.BAD_ANSWER


_EXHAUSTED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_UNREACHABLE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL})
_BAD_PATH = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL})


def out_of_resources(error: BaseException) -> bool:
    """Whether the machine ran out of memory, disk or descriptors, as far as the error or its causes tell."""
    return any(
        isinstance(each, MemoryError) or (isinstance(each, OSError) and each.errno in _EXHAUSTED)
        for each in chain_of(error)
    )


def _of_os_error(error: BaseException) -> ErrorKind | None:
    number = getattr(error, "errno", None)
    if number in _EXHAUSTED:
        return ErrorKind.RESOURCE
    if number in _UNREACHABLE:
        return ErrorKind.CONNECTION
    return ErrorKind.BAD_INPUT if number in _BAD_PATH else None


def _by_function(rule: Callable[[BaseException], ErrorKind | None], error: BaseException) -> ErrorKind | None:
    try:
        return rule(error)
    except Exception:  # noqa: BLE001  # a declared function may fail in any way; the error stays of unknown kind
        return None


_PYTHON: Mapping[str | type[BaseException], KindRule] = {
    TimeoutError: ErrorKind.TIMEOUT,
    ConnectionRefusedError: ErrorKind.CONNECTION,
    "socket.gaierror": ErrorKind.CONNECTION,
    ConnectionError: ErrorKind.CONNECTION_LOST,
    FileNotFoundError: ErrorKind.BAD_INPUT,
    PermissionError: ErrorKind.BAD_INPUT,
    IsADirectoryError: ErrorKind.BAD_INPUT,
    NotADirectoryError: ErrorKind.BAD_INPUT,
    OSError: _of_os_error,
    MemoryError: ErrorKind.RESOURCE,
    ValueError: ErrorKind.BAD_INPUT,
    "json.JSONDecodeError": ErrorKind.BAD_ANSWER,
    "asyncio.CancelledError": ErrorKind.CANCELLED,
    "concurrent.futures.CancelledError": ErrorKind.CANCELLED,
    CandidateCancelledError: ErrorKind.CANCELLED,
}
"""Python's own errors."""


class Taxonomy:
    """Which error is of which kind. The outermost error for which a rule knows the kind decides.

    Args:
        rules: by class, or by the class's dotted name (`"httpx.ReadTimeout"`): a name imports nothing, because no error
            of a module exists before the module is imported. The rule of the nearest base class holds.
            Python's own errors have rules already, which others for the same class replace.
    """

    def __init__(self, rules: Mapping[str | type[BaseException], KindRule] | None = None) -> None:
        both = {**_PYTHON, **(rules or {})}
        self._named = {name: rule for name, rule in both.items() if isinstance(name, str)}
        self._known = {kind: rule for kind, rule in both.items() if isinstance(kind, type)}

    def kind_of(self, error: BaseException) -> ErrorKind:
        """The kind of an error. Never raises: a rule that fails knows nothing."""
        rules = self._known | dict(self._loaded())
        return _decided(rules, error, groups=MAX_NESTED_GROUPS) or ErrorKind.UNKNOWN

    def _loaded(self) -> Iterator[tuple[type, KindRule]]:
        """The named classes whose modules are imported."""
        for name, rule in self._named.items():
            module, _, attribute = name.rpartition(".")
            found = getattr(sys.modules.get(module), attribute, None)
            if isinstance(found, type):
                yield found, rule
