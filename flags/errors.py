"""The errors of flags, one tree. No message carries a token or an answer's body."""

from __future__ import annotations


class FlagError(Exception):
    """Base of every error that this package raises or names in a decision."""


class FlagNotFoundError(FlagError):
    """There is no flag of this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is no flag {name!r}; create it first")


class InvalidFlagNameError(FlagError, ValueError):
    """The name cannot be a flag's name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name!r} cannot name a flag: use 1 to 100 letters, digits, '.', '-', '_' or '~'")


class InvalidPercentageError(FlagError, ValueError):
    """The percentage is not a whole number from 0 to 100; Unleash would silently evaluate it as 0."""

    def __init__(self, value: object) -> None:
        self.value = value
        super().__init__(f"{value!r} is not a percentage: use a whole number from 0 to 100")


class UnknownStrategyError(FlagError):
    """A flag uses a strategy that this client does not know and would silently evaluate as off."""

    def __init__(self, flag: str, strategy: object) -> None:
        self.flag = flag
        self.strategy = strategy
        super().__init__(f"flag {flag!r} uses the unknown strategy {strategy!r}; use one of Unleash's own")


class NoStrategyError(FlagError):
    """An enabled flag has no strategy; Unleash would evaluate it as on for everybody."""

    def __init__(self, flag: str) -> None:
        self.flag = flag
        super().__init__(f"flag {flag!r} is enabled and has no strategy; give it a rollout")


class AmbiguousRolloutError(FlagError):
    """The flag does not have exactly one plain rollout whose percentage could be set."""

    def __init__(self, flag: str, rollouts: int) -> None:
        self.flag = flag
        self.rollouts = rollouts
        super().__init__(
            f"flag {flag!r} has {rollouts} rollouts without constraints, and one is needed to set a percentage; "
            "change its strategies in the Unleash console or in the flags file"
        )


class FlagDefinitionsError(FlagError):
    """What was offered as flag definitions is not what Unleash's client API answers."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the flag definitions cannot be used: {problem}")


class FlagFileError(FlagError):
    """The flags file cannot be read or written."""

    def __init__(self, path: object, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"flags file {path}: {problem}")


class FlagServerError(FlagError):
    """The Unleash server did not do what it was asked.

    `status` is the HTTP status of its answer, or None if there was none.
    """

    def __init__(self, action: str, problem: str, *, status: int | None = None) -> None:
        self.action = action
        self.problem = problem
        self.status = status
        super().__init__(f"Unleash could not {action}: {problem}")


class FlagsNotReadyError(FlagError):
    """No flag definitions have arrived yet."""

    def __init__(self) -> None:
        super().__init__("no flag definitions have arrived yet")


class FlagsStaleError(FlagError):
    """The flag definitions are too old to be acted upon."""

    def __init__(self, age: float) -> None:
        self.age = age
        super().__init__(f"the flag definitions were last confirmed {age:.0f} s ago")


class FlagEvaluationError(FlagError):
    """The Unleash engine did not answer whether a flag is on."""

    def __init__(self, flag: str, status: str) -> None:
        self.flag = flag
        self.status = status
        super().__init__(f"the Unleash engine could not evaluate flag {flag!r}: {status}")


class RouterClosedError(FlagError):
    """The router was closed and decides nothing any more."""

    def __init__(self) -> None:
        super().__init__("the router is closed")
