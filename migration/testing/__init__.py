"""For tests of code that uses this package: fakes of the ports, and calls that are compared while a test runs.

The pytest plugin is `migration.testing.plugin`; nothing here needs pytest.
"""

from migration.testing.comparing import ComparedCalls, FixedRouter, MismatchError, RecordingObserver, comparing

__all__ = ["ComparedCalls", "FixedRouter", "MismatchError", "RecordingObserver", "comparing"]
