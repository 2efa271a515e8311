"""The errors of the monolith's side, one tree.

The public upload functions raise what they always raised (`ValueError`, `RuntimeError`); the errors here are
raised below them and by what is new, and stand behind those as their cause.
"""

from __future__ import annotations

from pydantic import ValidationError


class ToolsError(Exception):
    """Base of every error that this package defines."""


class ConfigurationError(ToolsError):
    """An environment variable has a value that cannot be used."""

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


class NothingSentError(ToolsError):
    """An upload failed in a way which proves that nothing of it left this machine."""


class MissingKeyError(ToolsError):
    """A provider is used for which no key is configured."""

    def __init__(self, variable: str) -> None:
        self.variable = variable
        super().__init__(f"{variable} is not set")
