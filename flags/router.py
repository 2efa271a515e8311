"""Decides call by call with two Unleash flags a migration: `NAME` (who serves) and `NAME.shadow` (who is compared)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from UnleashClient.utils import normalized_hash

from flags.definitions import BUCKET, BUCKETS, INSTANCE
from flags.errors import FlagError, FlagsStaleError
from flags.file import FlagFileSource
from flags.server import FlagServerSource
from flags.source import Evaluation, FlagSource, Freshness, uptime
from migration import Call, Decision, Reason, Side
from migration.forking import new_lock, renew_in_child

SHADOW_SUFFIX = ".shadow"

_REMEMBERED = 256  # decisions that may come again


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterStatus:
    """What the router knows and how well.

    Attributes:
        source: where its flags come from (`unleash`, `file`).
        healthy: whether the flags were confirmed recently and can be used.
        last_success_age: seconds since the flags were last confirmed, or None if they never were.
        error: what went wrong last, as a sentence, if nothing went right since.
        flags: the names of all flags known.
    """

    source: str
    healthy: bool
    last_success_age: float | None
    error: str | None
    flags: tuple[str, ...]


class UnleashRouter:
    """Routes by Unleash flags, from a server or from a file; implements `migration.Router`.

    Legacy serves, without a shadow, unless a fresh and sound definition says otherwise. Reading a decision never
    blocks: definitions are fetched in the background, once when it is made, and from its first decision on again and
    again: until then its process may fork. A child fetches for itself at its own first decision.
    """

    def __init__(
        self, make_source: Callable[[], FlagSource], *, start_timeout: float, instance: str | None = None
    ) -> None:
        self._make_source = make_source
        self._instance = instance or socket.gethostname()
        self._start_timeout = start_timeout
        self._lock = new_lock()
        self._source: FlagSource | None = None
        self._followed: FlagSource | None = None  # the source, once decisions are made by it
        self._abandoned: list[FlagSource] = []
        with self._lock:
            self._started()
        renew_in_child(self)

    @classmethod
    def from_server(
        cls,
        url: str,
        token: str,
        *,
        app_name: str = "migration",
        refresh_seconds: float = 1.0,
        request_timeout: float = 2.0,
        start_timeout: float = 1.0,
        freshness: Freshness | None = None,
        clock: Callable[[], float] = uptime,
        instance: str | None = None,
    ) -> Self:
        """Route by the flags of an Unleash server.

        Args:
            url: the server's address; `/api` is added unless it is there.
            token: a backend token; it also determines the environment.
            app_name: under which the server lists this application.
            refresh_seconds: between two polls.
            request_timeout: seconds that a connection or a read may take.
            start_timeout: seconds to wait for the first answer; then legacy serves until it comes.
            freshness: how old definitions may become when the server does not answer.
            clock: seconds that never go back.
            instance: the name by which a rollout may single out this process; that of the machine by default.
        """

        def make_source() -> FlagSource:
            return FlagServerSource(
                url,
                token,
                app_name=app_name,
                refresh_seconds=refresh_seconds,
                request_timeout=request_timeout,
                freshness=freshness or Freshness(doubtful_after=max(10.0, 3 * refresh_seconds)),
                clock=clock,
            )

        return cls(make_source, start_timeout=start_timeout, instance=instance)

    @classmethod
    def from_file(
        cls,
        path: Path,
        *,
        app_name: str = "migration",
        interval: float = 0.25,
        start_timeout: float = 1.0,
        freshness: Freshness | None = None,
        clock: Callable[[], float] = uptime,
        instance: str | None = None,
    ) -> Self:
        """Route by a local file that holds what Unleash's `/api/client/features` answers.

        Args:
            path: the file; it is watched, and may appear later.
            app_name: the `appName` that constraints see.
            interval: seconds between two looks at the file.
            start_timeout: seconds to wait for the first look.
            freshness: how old definitions may become when the file system hangs.
            clock: seconds that never go back.
            instance: the name by which a rollout may single out this process; that of the machine by default.
        """

        def make_source() -> FlagSource:
            return FlagFileSource(
                path, interval=interval, app_name=app_name, freshness=freshness or Freshness(), clock=clock
            )

        return cls(make_source, start_timeout=start_timeout, instance=instance)

    def decide(self, call: Call) -> Decision:
        """Decide for this call; a FlagError becomes a decision for legacy that names it."""
        source = self._followed or self.follow()
        source.go_on()
        try:
            serve, shadow = _evaluate(source, call, self._instance)
        except FlagError as error:
            reason = Reason.STALE if isinstance(error, FlagsStaleError) else Reason.ERROR
            return Decision(serve=Side.LEGACY, reason=reason, source=source.kind, error=type(error).__name__)
        return _decision(serve, shadow, source.kind, doubtful=source.is_doubtful)

    def status(self) -> RouterStatus:
        """What the router knows at this moment."""
        source = self._followed or self.follow()
        try:
            source.snapshot()
            failure = source.failure
        except FlagError as error:
            failure = source.failure or error
            usable = False
        else:
            usable = True
        return RouterStatus(
            source=source.kind,
            healthy=usable and not source.is_doubtful,
            last_success_age=None if source.age == float("inf") else source.age,
            error=None if failure is None else str(failure),
            flags=source.names,
        )

    def close(self, timeout: float = 2.0) -> None:
        """Stop fetching, within about `timeout` seconds; every later decision is legacy."""
        with self._lock:
            source = self._source = self._followed = self._source or self._make_source()
        source.close(timeout)

    def follow(self) -> FlagSource:
        """Fetch again and again from now on, without waiting for the first decision."""
        with self._lock:
            if self._followed is None:
                source = self._started()
                source.follow(self._start_timeout)
                self._followed = source
            return self._followed

    def begin_in_child(self) -> None:
        """Fetch again at the next decision, because threads do not survive a fork.

        The parent's source is kept, unused: tearing it down could wait for those threads.
        """
        if self._source is not None and not self._source.is_closed:
            self._abandoned.append(self._source)
            self._source = self._followed = None

    def _started(self) -> FlagSource:
        if self._source is None:
            source = self._make_source()
            source.start(self._start_timeout)
            self._source = source
        return self._source


def _evaluate(source: FlagSource, call: Call, instance: str) -> tuple[Evaluation, Evaluation]:
    """Evaluate both flags against one and the same state of the definitions."""
    snapshot = source.snapshot()
    context = _context(call, instance)
    written = snapshot.engine.write(context)
    found = []
    for name in (call.migration, call.migration + SHADOW_SUFFIX):
        evaluation = snapshot.evaluate(name, context, written)
        if evaluation.error is None:
            source.count(name, enabled=evaluation.enabled)
        found.append(evaluation)
    serve, shadow = found
    return serve, shadow


@lru_cache(maxsize=_REMEMBERED)
def _decision(serve: Evaluation, shadow: Evaluation, source: str, *, doubtful: bool) -> Decision:
    """What follows from both evaluations; the same ones come again and again."""
    sound = serve.error is None
    return Decision(
        serve=Side.CANDIDATE if serve.enabled else Side.LEGACY,
        shadow=shadow.enabled and sound,
        probability=serve.probability,
        shadow_probability=shadow.probability if sound else 0.0,
        reason=Reason.STALE if doubtful and sound else serve.reason,
        source=source,
        flag_version=serve.version,
        error=serve.error or (shadow.error if shadow.version else None),
    )


def _context(call: Call, instance: str) -> dict[str, Any]:
    bucket = normalized_hash(call.call_id, f"{BUCKET} of {call.migration}", BUCKETS) - 1
    properties = {**call.attributes, BUCKET: bucket, INSTANCE: instance}
    context: dict[str, Any] = {"sessionId": call.call_id, "properties": properties}
    user = str(call.attributes.get("user", ""))
    if user:
        context["userId"] = user
    return context
