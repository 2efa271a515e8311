"""What a drill has shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillResult:
    """The measures of one drill. Times are seconds since the first upload that was misrouted began.

    Attributes:
        at: when the drill began, seconds since the epoch.
        migration: which migration.
        fault: what went wrong.
        percent: share of the uploads that the new implementation got.
        severity: percent of these that went wrong.
        flags: where the flags were: `a file`, or the server's address.
        uploads: how many were made while the share was in force or just had been.
        misrouted: how many of them the new implementation served.
        failed: how many failed, as their callers were told.
        decided: when the guard decided; None if it did not.
        last_begun: when the last misrouted upload began.
        last_ended: when the last one ended.
        begun_later: misrouted uploads that began after the decision.
        flag_off: when the flag was off for everybody; None if it was not.
        legacy_after: uploads that legacy served in a row at the end.
        rule: the rule by which the guard decided.
        sentence: the decision in words, or why there is none.
        seconds: what the drill took in all.
    """

    at: float
    migration: str
    fault: str
    percent: int
    severity: int
    flags: str
    uploads: int
    misrouted: int
    failed: int
    decided: float | None
    last_begun: float
    last_ended: float
    begun_later: int
    flag_off: float | None
    legacy_after: int
    rule: str | None
    sentence: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether legacy serves again, here and for everybody."""
        return self.decided is not None and self.flag_off is not None and self.legacy_after > 0
