"""Any name, any size: both sides send the same, or fail alike."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from migration import Side
from tests.tools.weather.bench import Bench
from tools.settings import MEGABYTE
from tools.transport.reading import BUFFER_BYTES, CROWDED_BUFFER_BYTES, SHORT_FILE_BYTES
from tools.transport.upload import COPIED_BYTES

BORDERS = [0, SHORT_FILE_BYTES, CROWDED_BUFFER_BYTES, COPIED_BYTES, BUFFER_BYTES, BUFFER_BYTES + COPIED_BYTES]
PIECES = [6 * MEGABYTE, 12 * MEGABYTE]
"""Where Supabase wants large objects cut."""

EMBEDDED = pytest.mark.parametrize("bench", ["embedded"], indirect=True)
SUPABASE = pytest.mark.parametrize("bench", ["supabase"], indirect=True)
MANY = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])

names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=100)


def sizes_about(borders: list[int]) -> st.SearchStrategy[int]:
    """Sizes at a border, one or a few bytes to either side of it, or anywhere below it."""
    return st.sampled_from(borders).flatmap(
        lambda border: st.one_of(
            st.integers(max(0, border - 2), border + 2), st.integers(0, border) if border else st.just(1)
        )
    )


def check(bench: Bench, data: st.DataObject, borders: list[int]) -> None:
    """Upload one file on both sides, and look at what the provider has of each."""
    name = data.draw(names, label="name")
    assume(name not in {".", ".."} and len(name.encode()) <= 255)
    size = data.draw(sizes_about(borders), label="size")
    provider = data.draw(st.sampled_from(["kimi", "glm"]), label="provider")
    path = bench.file(size, name)
    found: list[Any] = []
    for side in Side:
        bench.sandbox.reset()
        outcome = bench.upload(provider, side, path)
        files = bench.sandbox.state()[provider]["files"]
        if outcome.answer is None:
            found.append((type(outcome.error), str(outcome.error), len(files)))
            continue
        [file] = files
        assert outcome.answer.pop(f"{provider}_file_id") == file["id"]
        assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert file["bytes"] == size
        outcome.answer.pop("supabase_file_id")
        found.append((outcome.answer, file["filename"], file["purpose"]))
    path.unlink()
    assert found[0] == found[1]


@EMBEDDED
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_both_sides_send_any_file_alike(bench: Bench, data: st.DataObject) -> None:
    """Names of any characters, and sizes about each border at which the asynchronous side changes its way."""
    check(bench, data, BORDERS)


@EMBEDDED
@pytest.mark.thorough
@MANY
@given(data=st.data())
def test_any_file_many_times(bench: Bench, data: st.DataObject) -> None:
    """As above, many times."""
    check(bench, data, BORDERS)


@SUPABASE
@pytest.mark.thorough
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_file_with_its_copy_in_pieces(bench: Bench, data: st.DataObject) -> None:
    """As above, with copies in Supabase, about the borders of its pieces too."""
    check(bench, data, [*BORDERS, *PIECES])
