"""A declaration that cannot work is refused where it is written."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from migration import (
    DeclarationError,
    Migration,
    migrate,
)


@pytest.mark.parametrize("name", ["", "a b", ".hidden", "ä", "x" * 101, "a\n"])
def test_names_that_no_flag_can_have_are_refused(name: str) -> None:
    """A wrong name fails where it is written, not at the flag server."""
    with pytest.raises(DeclarationError, match="cannot be the name of a flag"):
        Migration(name=name, candidate="a:b")


@pytest.mark.parametrize("candidate", ["module.function", "a:b:c", ""])
def test_candidates_that_name_no_function_are_refused(candidate: str) -> None:
    """A dotted name needs exactly one colon."""
    with pytest.raises(DeclarationError, match="must look like"):
        Migration(name="m", candidate=candidate)


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_decorators_in_the_wrong_order_are_refused(kind: Callable[..., Any]) -> None:
    """Above `@staticmethod` a migration would bind to instances; it says so instead."""
    with pytest.raises(DeclarationError, match=f"put the migration below its @{kind.__name__}"):
        migrate(Migration(name="m", candidate="a:b"))(kind(lambda: 1))


def test_callables_without_a_name_are_refused() -> None:
    """What cannot be named cannot be traced."""
    with pytest.raises(DeclarationError, match="a partial has no name"):
        migrate(Migration(name="m", candidate="a:b"))(functools.partial(print))
