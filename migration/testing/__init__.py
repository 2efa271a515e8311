"""For tests of code that uses the library: fakes of the ports, and comparing the calls of a test.

The pytest plugin is `migration.testing.plugin`; nothing here needs pytest.
"""

from migration.testing.comparing import ComparedCalls, FixedRouter, MismatchError, RecordingObserver, comparing

__all__ = ["ComparedCalls", "FixedRouter", "MismatchError", "RecordingObserver", "comparing"]
