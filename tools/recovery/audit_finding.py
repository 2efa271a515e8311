"""What an audit finds out about one uploaded file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tools.storage.port import UploadRow


class State(StrEnum):
    """What is the matter with an upload."""

    INTACT = "intact"  # file, copy and row are there and agree
    DAMAGED = "damaged"  # they are there and do not agree
    MISSING = "missing"  # one of them is not there
    UNKNOWN = "unknown"  # a service does not say
    REPAIRED = "repaired"  # its row was written anew
    QUARANTINED = "quarantined"  # its row says that it is not to be used


class Remedy(StrEnum):
    """What can be done about it."""

    NONE = "none"
    REWRITE = "write its row anew"
    QUARANTINE = "mark its row as failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One upload.

    Attributes:
        provider: who keeps the file.
        file_id: the provider's id of it.
        at: when it was uploaded, seconds since the epoch.
        trace: W3C traceparent of the run.
        state: what is the matter with it.
        problems: in words; none if it is intact.
        remedy: what can be done, or was done.
        row: the row as it is to be written, if one is.
    """

    provider: str
    file_id: str
    at: float
    trace: str | None
    state: State
    problems: tuple[str, ...] = ()
    remedy: Remedy = Remedy.NONE
    row: UploadRow | None = None

    @property
    def fine(self) -> bool:
        """Whether it can be used as it is."""
        return self.state in {State.INTACT, State.REPAIRED}
