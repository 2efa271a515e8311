"""The product's errors, one tree: what goes wrong around a migration, never within a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pydantic import ValidationError


class ShimError(Exception):
    """Base of every error that the product, or an application on it, defines; its message says what to do.

    Attributes:
        exit_code: with which code a command ends that meets it; see `shim.cli.conventions`.
    """

    exit_code: ClassVar[int] = 1


class ConfigurationError(ShimError):
    """An environment variable has a value that cannot be used."""

    exit_code = 3

    def __init__(self, problems: dict[str, str]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in problems.items()))

    @classmethod
    def from_validation(cls, invalid: ValidationError) -> ConfigurationError:
        """Name the variables, and never the values: one of them may be a secret."""
        return cls(
            {
                str(error["loc"][0]).upper() if error["loc"] else "environment": error["msg"].removeprefix(
                    "Value error, "
                )
                for error in invalid.errors(include_input=False, include_url=False)
            }
        )
