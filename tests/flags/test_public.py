"""What the package offers."""

from __future__ import annotations

import flags


def test_public_names_are_sorted_and_exist() -> None:
    """`__all__` is sorted, complete, and holds what it promises."""
    assert flags.__all__ == sorted(flags.__all__, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(flags, name) for name in flags.__all__)
