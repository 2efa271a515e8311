"""The package's public names."""

from __future__ import annotations

import inspect
import types

import migration
from migration import MigrationError


def test_public_names_are_complete() -> None:
    """`__all__` lists every name that the package imports for its users, and nothing else."""
    names = [
        name
        for name, value in vars(migration).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    ]
    assert sorted(names) == sorted(migration.__all__)


def test_public_names_are_documented() -> None:
    """Each class and function says what it is."""
    for name in migration.__all__:
        thing = getattr(migration, name)
        assert inspect.getdoc(thing), name
        assert thing.__doc__ != Exception.__doc__, name


def test_errors_are_one_tree() -> None:
    """Whoever catches `MigrationError` catches everything that the package raises."""
    errors = [thing for name in migration.__all__ if name.endswith("Error") and (thing := getattr(migration, name))]
    assert {migration.DeclarationError, migration.LedgerError} < set(errors)  # they were found at all
    assert all(issubclass(error, MigrationError) for error in errors)
