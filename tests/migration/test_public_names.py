"""The packages' public names."""

from __future__ import annotations

import importlib
import inspect
import types

import pytest

import migration
from migration import MigrationError
from migration.model import errors

ROOMS = ("guard", "model", "rollout", "routing", "running", "shadow", "store", "testing")
PACKAGES = ("migration", *(f"migration.{room}" for room in ROOMS))


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_complete(package: str) -> None:
    """`__all__` lists every name that a package imports for its users, and nothing else."""
    found = importlib.import_module(package)
    names = [
        name
        for name, value in vars(found).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    ]
    assert sorted(names) == sorted(found.__all__)


def test_a_newcomer_has_few_names_to_learn() -> None:
    """What a declaration and its installation take is at most 25 names."""
    assert len(migration.__all__) <= 25


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_documented(package: str) -> None:
    """Each class and function says what it is."""
    found = importlib.import_module(package)
    for name in found.__all__:
        thing = getattr(found, name)
        assert inspect.getdoc(thing), name
        assert thing.__doc__ != Exception.__doc__, name


def test_errors_are_one_tree() -> None:
    """A handler of `MigrationError` catches everything that the package raises."""
    tree = [thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, Exception)]
    assert len(tree) > 10  # they were found at all
    assert all(issubclass(error, MigrationError) for error in tree)
