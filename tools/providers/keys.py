"""The providers' keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.errors import MissingKeyError

if TYPE_CHECKING:
    from pydantic import SecretStr


def required_key(key: SecretStr | None, variable: str) -> str:
    """The key in plain text.

    Raises:
        MissingKeyError: there is none; the error names the variable to set.
    """
    if key is None:
        raise MissingKeyError(variable)
    return key.get_secret_value()
