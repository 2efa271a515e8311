"""For tests: fakes of the ports, and comparing every migrated call that a block of code makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from migration.model.declaration import Migration
from migration.model.model import MISMATCHES, NOT_COMPARED, Call, Comparison, Decision, Notice, Operation, Reason, Side
from migration.routing.install import install, shim_at, uninstall
from migration.routing.runtime import Runtime, temporary_runtime
from migration.shadow.admission import ShadowLimits
from migration.shadow.isolated import Shadow
from migration.shadow.runner import ShadowRunner


@dataclass(slots=True)
class FixedRouter:
    """A `Router` that decides every call alike; change `serve` and `shadow` at any time."""

    serve: Side = Side.LEGACY
    shadow: bool = False
    asked: int = 0

    def decide(self, call: Call) -> Decision:  # noqa: ARG002  # the same for every call
        """The fixed decision."""
        self.asked += 1
        return Decision(
            serve=self.serve,
            shadow=self.shadow,
            probability=float(self.serve is Side.CANDIDATE),
            shadow_probability=float(self.shadow),
            reason=Reason.STATIC,
            source="fixed",
        )


@dataclass(slots=True)
class RecordingObserver:
    """An `Observer` that keeps what it sees, operations in the order in which they ended."""

    operations: list[Operation] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    @contextmanager
    def operation(self, operation: Operation) -> Iterator[None]:
        """Keep the operation as it ended."""
        try:
            yield
        finally:
            self.operations.append(replace(operation))

    def compared(self, comparison: Comparison) -> None:
        """Keep the comparison."""
        self.comparisons.append(comparison)

    def noticed(self, notice: Notice) -> None:
        """Keep the notice."""
        self.notices.append(notice)

    def served(self) -> list[Side]:
        """The side that answered each call, in order."""
        return [done.outcome.side for done in self.operations if done.side is None and done.outcome is not None]


MAX_LISTED = 20
"""Mismatches that one message shows in full."""

_SLACK_SECONDS = 1.0
"""A comparison that reaches its deadline ends shortly after it."""


class MismatchError(AssertionError):
    """Calls were compared, and both sides did not do the same (or, if that counts, could not be compared)."""

    def __init__(self, comparisons: Sequence[Comparison]) -> None:
        self.comparisons = tuple(comparisons)
        super().__init__(report(comparisons))


@dataclass(slots=True)
class ComparedCalls:
    """The calls of one test, as they are compared.

    Attributes:
        router: decides; set `router.serve` to let the candidate answer, `router.shadow` to compare nothing.
        observer: has seen everything.
        runtime: where candidates run; `runtime.loop.on_close` and `runtime.shadows.loop.on_close` take what closes the
            resources that they keep for a loop.
        strict: whether a call that could not be compared counts as a mismatch.
    """

    router: FixedRouter
    observer: RecordingObserver
    runtime: Runtime
    strict: bool = False
    _checked: int = field(default=0, repr=False)

    @property
    def comparisons(self) -> Sequence[Comparison]:
        """What was compared so far, in order."""
        return self.observer.comparisons

    def check(self) -> None:
        """Raise for mismatches since the last check.

        Raises:
            MismatchError: there are some.
        """
        fresh = self.observer.comparisons[self._checked :]
        self._checked += len(fresh)
        counted = (*MISMATCHES, *NOT_COMPARED) if self.strict else MISMATCHES
        found = [comparison for comparison in fresh if comparison.verdict in counted]
        if found:
            raise MismatchError(found)


class _ImmediateShadowRunner(ShadowRunner):
    """Compares a call before it returns, so that the caller cannot change what is compared."""

    def submit(self, shadow: Shadow) -> None:
        """Take a sampled call and wait for its comparison; not on the loop on which candidates run."""
        super().submit(shadow)
        if not self.candidates.is_current_thread():
            self.drain(self.limits.seconds + _SLACK_SECONDS)

    def home(self) -> None:
        """An asynchronous legacy has a loop of its own: that of its caller waits for the comparison."""


@contextmanager
def comparing(
    migrations: Mapping[str, Migration] | None = None,
    *,
    serve: Side = Side.LEGACY,
    strict: bool = False,
    seconds: float = 60.0,
) -> Iterator[ComparedCalls]:
    """Compare every migrated call made meanwhile, before it returns, and raise at the end if one did not match.

    Meanwhile the process has a runtime of its own for it; shims that were given a runtime are not touched.

    Args:
        migrations: what to install first, by target; a migration that is installed there stays.
        serve: the side that answers.
        strict: a call that could not be compared counts as a mismatch.
        seconds: how long one comparison may take.

    Raises:
        MismatchError: calls did not match, and nothing else was raised.
    """
    router, observer = FixedRouter(serve=serve, shadow=True), RecordingObserver()
    runtime = Runtime(router=router, observers=[observer])
    runtime.shadows = _ImmediateShadowRunner(
        candidates=runtime.loop, observers=runtime.observers, limits=ShadowLimits(seconds=seconds, yield_seconds=0.0)
    )
    with ExitStack() as stack:
        stack.callback(runtime.close)
        stack.enter_context(temporary_runtime(runtime))
        for target, migration in (migrations or {}).items():
            if shim_at(target) is None:
                install(target, migration)
                stack.callback(uninstall, target)
        compared = ComparedCalls(router, observer, runtime, strict=strict)
        yield compared
    compared.check()


def report(comparisons: Sequence[Comparison]) -> str:
    """Mismatches as text: the call, its site, and field by field what either side did."""
    lines = [f"{len(comparisons)} compared call{'s' if len(comparisons) > 1 else ''} did not match"]
    for comparison in comparisons[:MAX_LISTED]:
        site = comparison.call.site
        detail = f": {comparison.detail}" if comparison.detail else ""
        lines += [
            "",
            f"{comparison.call.function} is {comparison.verdict}{detail}",
            f"  called at {site.file}:{site.line}",
        ]
        for difference in comparison.differences:
            lines += [
                f"  {difference.field}",
                f"    legacy:    {difference.legacy}",
                f"    candidate: {difference.candidate}",
            ]
    if len(comparisons) > MAX_LISTED:
        lines += ["", f"and {len(comparisons) - MAX_LISTED} more"]
    return "\n".join(lines)
