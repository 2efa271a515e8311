"""Running one side: the candidate, the background event loop, in-flight calls, observers."""

from migration.running.candidate import Candidate
from migration.running.in_flight import InFlightCalls, calling_site, new_call_id, side_around, side_context
from migration.running.job import LoopJob
from migration.running.loop import BackgroundLoop
from migration.running.observers import Observers

__all__ = [
    "BackgroundLoop",
    "Candidate",
    "InFlightCalls",
    "LoopJob",
    "Observers",
    "calling_site",
    "new_call_id",
    "side_around",
    "side_context",
]
