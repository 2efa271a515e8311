"""Running one side: the candidate, the background event loop, calls in flight, observers."""

from migration.running.callsites import calling_site
from migration.running.candidate import Candidate, run_candidate, run_legacy
from migration.running.in_flight import InFlightCalls, new_call_id, side_context, side_of_context
from migration.running.loop import BackgroundLoop, LoopJob
from migration.running.observers import Observers

__all__ = [
    "BackgroundLoop",
    "Candidate",
    "InFlightCalls",
    "LoopJob",
    "Observers",
    "calling_site",
    "new_call_id",
    "run_candidate",
    "run_legacy",
    "side_context",
    "side_of_context",
]
