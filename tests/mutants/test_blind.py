"""What no comparison of requests can see, and what sees it instead."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path

import pytest

from migration import uninstall
from migration.testing import comparing
from tests.mutants import trial
from tests.mutants.blind import BLIND, Blind
from tests.mutants.calls import SAMPLED_CALLS
from tools.async_file_upload_refactored import cleanup_http_session, get_http_session
from tools.providers.kimi import kimi_files
from tools.sandbox import RunningSandbox
from tools.storage import get_storage

every_one = pytest.mark.parametrize("defect", BLIND, ids=lambda defect: defect.mutant.defect)
