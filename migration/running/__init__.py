"""Running one side: the candidate, the background event loop, calls in flight, observers."""

from migration.running.callsites import calling_site
from migration.running.candidate import Candidate, run_candidate, run_legacy
from migration.running.in_flight import UnderWay, new_unit, pinned, pinned_side
from migration.running.loop import BackgroundLoop, Job
from migration.running.observers import Observers

__all__ = [
    "BackgroundLoop",
    "Candidate",
    "Job",
    "Observers",
    "UnderWay",
    "calling_site",
    "new_unit",
    "pinned",
    "pinned_side",
    "run_candidate",
    "run_legacy",
]
