"""What only a live process knows, written down once a second: single calls, memory, pool, loop delay, spans.

The console reads it while the process runs, and afterwards. It is bounded, and losing it hurts nobody: decisions are
taken from the guard's file, and verdicts stand in the ledger.
"""

from tools.vitals.errors import VitalsError
from tools.vitals.model import CallSample, ProcessSample, ShareSample, SpanSample
from tools.vitals.reader import VitalsReader
from tools.vitals.recorder import Vitals

__all__ = ["CallSample", "ProcessSample", "ShareSample", "SpanSample", "Vitals", "VitalsError", "VitalsReader"]
