"""Fixtures: the trials of the session's mutants, made side by side as soon as the first of them is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from tests.mutants.blind import Blind
from tests.mutants.mutant import Mutant
from tests.mutants.trial import Result
from tests.mutants.trials import begun


@pytest.fixture(scope="session")
def trials(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Result]]]:
    """A trial for each mutant that one of the selected tests is about, by its defect."""
    wanted = [mutant for item in request.session.items if (mutant := _mutant_of(item)) is not None]
    with begun(
        {mutant.defect: mutant for mutant in wanted}.values(), Path(tmp_path_factory.mktemp("mutants"))
    ) as running:
        yield running


def _mutant_of(item: pytest.Item) -> Mutant | None:
    given: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    if "trials" not in getattr(item, "fixturenames", ()):
        return None
    match given:
        case {"mutant": Mutant() as mutant}:
            return mutant
        case {"blind": Blind(mutant=mutant)}:
            return mutant
    return None
