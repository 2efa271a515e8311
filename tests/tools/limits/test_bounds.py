"""Bounds that no other room's tests drive to their end."""

from __future__ import annotations

from pathlib import Path

import pytest

from flags import UnleashRouter
from flags.definitions import BUCKET, MOST_CUTS
from migration.model import CallSite
from migration.running.in_flight import MAX_KNOWN_SITES, MAX_REPORTED_SITES, OncePerSite, _sites, calling_site
from tests.flags.helpers import constraint, feature, make_call, payload, rollout


def test_call_sites_are_remembered_up_to_a_number() -> None:
    """However many places call, so many are known at most, and each of them is told as it is."""
    for number in range(MAX_KNOWN_SITES + 200):
        place: dict[str, object] = {"calling_site": calling_site}
        exec(compile(f"def caller_{number}():\n    return calling_site()\n", f"{number}.py", "exec"), place)  # noqa: S102  # as many places as one wants
        caller = place[f"caller_{number}"]
        assert callable(caller)
        assert caller() == CallSite(function=f"caller_{number}", file=f"{number}.py", line=2)
        assert len(_sites) <= MAX_KNOWN_SITES


def test_call_sites_are_reported_up_to_a_number() -> None:
    """Further places that block a loop are not reported, and those that were are not reported again."""
    once = OncePerSite()
    sites = [CallSite(function="f", file="f.py", line=line) for line in range(MAX_REPORTED_SITES + 10)]
    assert sum(map(once.is_new, sites)) == MAX_REPORTED_SITES
    assert not any(map(once.is_new, sites))


@pytest.mark.parametrize("values", [MOST_CUTS // 2 - 1, MOST_CUTS])
def test_a_flag_in_shreds_takes_a_bucket_as_given(tmp_path: Path, values: int) -> None:
    """Up to a number of places at which a flag changes its probability is the share; beyond, that of the call."""
    buckets = [str(number * 2 + 1) for number in range(values)]
    (tmp_path / "flags.json").write_text(payload(feature(rollout("100", constraints=[constraint(BUCKET, *buckets)]))))
    router = UnleashRouter.from_file(tmp_path / "flags.json")
    probability = router.decide(make_call()).probability
    router.close()
    if values * 2 <= MOST_CUTS:
        assert probability == pytest.approx(values / 10_000)
    else:
        assert probability in {0.0, 1.0}
