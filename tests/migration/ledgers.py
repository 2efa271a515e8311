"""What the ledger's tests record."""

from __future__ import annotations

from collections.abc import Iterable

from migration import Call, Comparison, Decision, Reason, Side
from migration.model import CallSite, Difference, Operation, Outcome, Role, Verdict
from migration.store import Ledger

SITE = CallSite(function="f", file="f.py", line=1)
DECISION = Decision(
    serve=Side.CANDIDATE,
    probability=0.25,
    shadow_probability=0.5,
    reason=Reason.SPLIT,
    source="file",
    flag_version="v1",
)


def call(function: str = "pkg:f", /, **attributes: str | int) -> Call:
    """A call whose arguments are secret."""
    return Call(
        migration="m", function=function, call_id="u", args=("SECRET",), kwargs={}, site=SITE, attributes=attributes
    )


def record(
    ledger: Ledger, side: Side | None, error: Exception | None = None, *, role: Role = Role.PRIMARY, size: int = 10
) -> None:
    """Let an operation end."""
    operation = Operation(call=call(**{"file.size": size}), decision=DECISION, side=side, role=role)
    with ledger.operation(operation):
        operation.outcome = Outcome(side=side or Side.LEGACY, seconds=0.5, error=error)


def comparison(
    verdict: Verdict = Verdict.IDENTICAL,
    *found: tuple[str, str, str],
    detail: str = "",
    function: str = "pkg:f",
    masked: Iterable[str] = (),
) -> Comparison:
    """A comparison with these differences: field, legacy's value, the candidate's."""
    return Comparison(
        call=call(function),
        decision=DECISION,
        verdict=verdict,
        detail=detail,
        masked=tuple(masked),
        differences=tuple(Difference(field=name, legacy=old, candidate=new) for name, old, new in found),
    )


def compare(ledger: Ledger, verdict: Verdict = Verdict.IDENTICAL, detail: str = "") -> None:
    """Record a comparison without differences."""
    ledger.compared(comparison(verdict, detail=detail))
