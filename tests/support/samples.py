"""Samples of processes, as processes write them down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from migration.store.shim_db import shim_db
from shim.process_metrics import Sample, add


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Add samples to the file of a machine."""
    with shim_db(path).writing() as database:
        add(database, samples)
