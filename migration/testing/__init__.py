"""For tests of code that uses this package: fakes of the ports, and calls that are compared while a test runs.

The pytest plugin is `migration.testing.plugin`; nothing here needs pytest.
"""

from migration.testing.fakes import FixedRouter, RecordingObserver
from migration.testing.plugin import Compared, MismatchError, comparing

__all__ = ["Compared", "FixedRouter", "MismatchError", "RecordingObserver", "comparing"]
