"""For tests of code that uses this package: fakes of the ports, and calls that are compared while a test runs.

The pytest plugin is `migration.testing.plugin`; nothing here needs pytest.
"""

from migration.testing.comparing import ComparedCalls, MismatchError, comparing
from migration.testing.fakes import FixedRouter, RecordingObserver

__all__ = ["ComparedCalls", "FixedRouter", "MismatchError", "RecordingObserver", "comparing"]
