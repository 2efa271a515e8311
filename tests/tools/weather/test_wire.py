"""Connections that break: at any byte of a request or an answer, towards any service, on both sides."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migration import Side
from tests.support.tcp_proxy import Blow, Fault, Way
from tests.tools.weather.bench import Bench, Outcome
from tests.tools.weather.conftest import PATIENCE_SECONDS

SIZE = 20_000
HEAD = 150
"""Bytes after which a request's head has begun and is not over."""

IN_REQUESTS = (0, HEAD, SIZE // 2)
IN_ANSWERS = (0, 100)
STALLED_SECONDS = 1.0
"""After which a stalled connection of legacy's is reset: the vendors' SDKs alone would wait for ten minutes."""

LONGEST_SECONDS = 4 * PATIENCE_SECONDS + 10.0
"""Four attempts, and the waits between them."""

PROVIDERS = pytest.mark.parametrize("provider", ["kimi", "glm"])
SIDES = pytest.mark.parametrize("side", list(Side), ids=["legacy", "async"])
EMBEDDED = pytest.mark.parametrize("bench", ["embedded"], indirect=True)
SUPABASE = pytest.mark.parametrize("bench", ["supabase"], indirect=True)
WAYS = [(way, blow) for way in Way for blow in Blow]
EVERYWHERE = [(way, blow, after) for way, blow in WAYS for after in (IN_REQUESTS if way is Way.REQUEST else IN_ANSWERS)]
SAMPLE = [(way, blow, SIZE // 2 if way is Way.REQUEST else 0) for way, blow in WAYS]


def fault(way: Way, blow: Blow, after: int, side: Side) -> Fault:
    seconds = STALLED_SECONDS if side is Side.LEGACY else None
    return Fault(blow=blow, way=way, after=after, seconds=seconds)


def upload_to_provider(
    bench: Bench, provider: str, side: Side, planned: Fault, size: int = SIZE
) -> tuple[Outcome, int]:
    """Upload with the first connection to the provider broken; the outcome, and how many files there are then."""
    path = bench.file(size)
    wire = bench.providers[provider]
    wire.cut()  # so that no connection of before is used again
    wire.plan(planned)
    began = time.monotonic()
    outcome = bench.upload(provider, side, path)
    assert time.monotonic() - began < LONGEST_SECONDS
    wire.clear()
    files = bench.held(provider, path).files
    if outcome.answer is not None:
        assert outcome.answer[f"{provider}_file_id"] in [file["id"] for file in files]
    whole = [
        request
        for request in bench.sandbox.requests(provider, "files.create")
        if request["status"] == 200 and any(part["filename"] == path.name for part in request["parts"])
    ]
    assert len(files) == len(whole)
    return outcome, len(files)


@EMBEDDED
@PROVIDERS
@pytest.mark.parametrize(
    "faults", [pytest.param(SAMPLE, id="sample"), pytest.param(EVERYWHERE, id="all", marks=pytest.mark.thorough)]
)
def test_the_asynchronous_side_has_each_file_once(
    bench: Bench, provider: str, faults: list[tuple[Way, Blow, int]]
) -> None:
    """Whatever the connection to the provider suffers, the caller gets an id, and the file is there once."""
    for way, blow, after in faults:
        outcome, files = upload_to_provider(bench, provider, Side.CANDIDATE, fault(way, blow, after, Side.CANDIDATE))
        assert (outcome.error, files) == (None, 1), (way, blow, after)


@EMBEDDED
@PROVIDERS
@pytest.mark.parametrize(
    "faults", [pytest.param(SAMPLE, id="sample"), pytest.param(EVERYWHERE, id="all", marks=pytest.mark.thorough)]
)
def test_legacy_makes_a_second_file_only_where_its_sdk_sends_again(
    bench: Bench, provider: str, faults: list[tuple[Way, Blow, int]], say: Callable[[str], None]
) -> None:
    """A request that broke leaves one file; a lost answer makes the vendor's SDK send again, and so two."""
    doubled = 0
    for way, blow, after in faults:
        outcome, files = upload_to_provider(bench, provider, Side.LEGACY, fault(way, blow, after, Side.LEGACY))
        assert outcome.error is None, (way, blow, after)
        assert files <= (2 if way is Way.RESPONSE else 1), (way, blow, after)
        doubled += files - 1
    say(f"{len(faults)} broken connections: all answered, {doubled} files made twice by the vendor's SDK")


@SUPABASE
@PROVIDERS
@SIDES
@pytest.mark.parametrize(
    "faults", [pytest.param(SAMPLE, id="sample"), pytest.param(EVERYWHERE, id="all", marks=pytest.mark.thorough)]
)
def test_a_copy_that_cannot_be_stored_ends_before_the_provider(
    bench: Bench, provider: str, side: Side, faults: list[tuple[Way, Blow, int]]
) -> None:
    """When the connection to the storage breaks, either all is there once, or the provider was given nothing."""
    for way, blow, after in faults:
        path = bench.file(SIZE)
        bench.supabase.cut()
        bench.supabase.plan(fault(way, blow, after, side))
        began = time.monotonic()
        outcome = bench.upload(provider, side, path)
        assert time.monotonic() - began < LONGEST_SECONDS
        bench.supabase.clear()
        held = bench.held(provider, path)
        if outcome.error is None:
            assert (len(held.files), len(held.objects), len(held.rows)) == (1, 1, 1), (way, blow, after)
        else:
            assert str(outcome.error).startswith("Failed to upload to Supabase:"), (way, blow, after)
            assert isinstance(outcome.error, RuntimeError)
            assert (held.files, held.rows) == ([], []), (way, blow, after)
            assert len(held.objects) <= 1


@SUPABASE
@pytest.mark.parametrize("blow", list(Blow))
def test_a_long_copy_is_resumed(bench: Bench, blow: Blow) -> None:
    """A copy that goes in pieces is brought to its end over the next connection, and stands there whole."""
    path = bench.file(7 * 1024 * 1024)
    bench.supabase.cut()
    bench.supabase.plan(Fault(blow=blow, after=3_000_000))
    outcome = bench.upload("kimi", Side.CANDIDATE, path)
    held = bench.held("kimi", path)
    if blow is not Blow.STALL or outcome.error is None:  # a stall may use up all the time there is
        assert outcome.error is None
        [held_object] = held.objects
        assert (len(held.files), held_object["sha256"]) == (1, held.files[0]["sha256"])
    else:
        assert held.files == []


@PROVIDERS
@SIDES
def test_a_slow_line_is_no_broken_one(bench: Bench, provider: str, side: Side) -> None:
    """A line of 200 KB/s to every service makes uploads slow, and nothing else."""
    slow = Fault(bytes_per_second=200_000.0)
    for proxy in (*bench.providers.values(), bench.supabase):
        proxy.weather(slow)
    path = bench.file(40_000)
    outcome = bench.upload(provider, side, path)
    assert outcome.error is None
    assert len(bench.held(provider, path).files) == 1


@EMBEDDED
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_cut_at_any_byte_of_a_request(bench: Bench, data: st.DataObject) -> None:
    """Wherever a request is cut, and however, the asynchronous side ends with one whole file."""
    _cut_anywhere(bench, data, Side.CANDIDATE)


@EMBEDDED
@SIDES
@pytest.mark.thorough
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_cut_at_any_byte_many_times(bench: Bench, side: Side, data: st.DataObject) -> None:
    """As above, for both sides."""
    _cut_anywhere(bench, data, side)


def _cut_anywhere(bench: Bench, data: st.DataObject, side: Side) -> None:
    size = data.draw(st.sampled_from([64, 4096, 65_536, 262_144, 262_145, 1_048_576, 1_048_577]), label="size")
    way = data.draw(st.sampled_from(list(Way)), label="way")
    longest = size + 1000 if way is Way.REQUEST else 1000
    after = data.draw(st.integers(0, longest), label="after")
    blow = data.draw(st.sampled_from([Blow.RESET, Blow.CLOSE, Blow.HALF_CLOSE]), label="blow")
    provider = data.draw(st.sampled_from(["kimi", "glm"]), label="provider")
    outcome, files = upload_to_provider(bench, provider, side, fault(way, blow, after, side), size)
    assert outcome.error is None
    assert files == 1 or side is Side.LEGACY
