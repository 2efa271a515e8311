"""What only a live process knows, written down once a second: single calls, memory, pool, loop delay, spans.

The console reads it while the process runs, and afterwards. It is bounded, and nothing depends on it: decisions are
taken from the guard's file, and verdicts stand in the ledger.
"""

from shim.process_metrics.recorder import ProcessMetrics
from shim.process_metrics.store import CallSample, ProcessMetricsReader, ProcessSample, ShareSample

__all__ = [
    "CallSample",
    "ProcessMetrics",
    "ProcessMetricsReader",
    "ProcessSample",
    "ShareSample",
]
