"""Comparisons of shadows find every defect that shows in what is asked, returned or raised."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.mutants.blind import BLIND
from tests.mutants.calls import SAMPLED_CALLS
from tests.mutants.many import compare_many
from tests.mutants.mutant import ROOT, Mutant, PatchError
from tests.mutants.page import PAGE, rows
from tests.mutants.trial import Result, run
from tests.mutants.trials import MUTANTS
from tools.sandbox import RunningSandbox

pytestmark = pytest.mark.thorough

every_one = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.defect)

MANY = 10_000
SECONDS = 45.0
"""How long the true implementations are compared here; all calls: `python -m tests.mutants.many 10000`."""


@every_one
def test_is_caught(mutant: Mutant, trials: Mapping[str, Future[Result]], say: Callable[[str], None]) -> None:
    """Within 20 sampled calls, and in the field that it spoils."""
    result = trials[mutant.defect].result()
    assert result.caught, f"not one of {result.calls} comparisons was a mismatch; not compared: {result.not_compared}"
    assert result.shows(mutant.shows_in), result.fields
    say(f"caught at call {result.calls}: {result.verdict} in {mutant.shows_in}")


def test_the_true_implementations_pass_the_same_calls(sandbox: RunningSandbox) -> None:
    """What the mutants meet is no trap: without a defect nothing differs, and every call is compared."""
    result = run(ROOT, sandbox)
    assert (result.calls, result.verdict, result.not_compared) == (len(SAMPLED_CALLS), "same_error", [])


def test_very_many_calls_of_the_true_implementations_agree(say: Callable[[str], None]) -> None:
    """Whatever the names, contents, sizes, entrances and failures: no mismatch, and no call that is not compared."""
    tally = compare_many(MANY, seconds=SECONDS)
    say(str(tally).partition("\n")[0])
    assert tally.agree, str(tally)
    assert sum(tally.verdicts.values()) > 100


def test_a_patch_that_does_not_fit_is_an_error() -> None:
    """A mutant that has become the true program must not pass for one that was caught."""
    for patch in ({"no such text": ""}, {"import": "from"}, {"from __future__ import annotations\n": "def\n"}):
        with pytest.raises(PatchError):
            Mutant(defect="none", file="tools/transport/loops.py", patch=patch, shows_in="").patched(
                Path(ROOT / "tools/transport/loops.py").read_text(encoding="utf-8")
            )


def test_every_defect_is_one_of_its_own() -> None:
    """At least thirty, each with a name and a patch that no other one has, in at most 20 calls."""
    every = [*MUTANTS, *(blind.mutant for blind in BLIND)]
    assert len(MUTANTS) >= 30
    assert len(SAMPLED_CALLS) <= 20
    assert max(Counter(mutant.defect for mutant in every).values()) == 1
    assert max(Counter((mutant.file, *mutant.patch.items()) for mutant in every).values()) == 1


def test_the_page_lists_every_defect() -> None:
    """Its tables have a row for each, in order, and what is told of the defects is what is written here."""
    page = PAGE.read_text(encoding="utf-8")
    written = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| defect")]
    assert [re.sub(r"at call \d+, \w+ ", "at call  ", line) for line in written] == list(rows())
