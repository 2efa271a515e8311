"""What `ask` and `upload` run in: the configured services or the local sandbox, and the migrations in front of them."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from shim.application import Application
from shim.cli.conventions import CommandError, ExitCode
from shim.cli.output import note
from shim.installation import Installation
from shim.wiring import has_no_flags_yet
from tools.providers.spec import PROVIDERS
from tools.providers.spec import provider as provider_named
from tools.sandbox import running_sandbox
from tools.sandbox.process import sandboxed
from tools.settings import Settings, get_settings, use_settings

_LOCK_SECONDS = 60.0
_LOCK_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The migrations in front of the services.

    Attributes:
        installation: what is in place in this process.
        sandboxed: whether the services are the local sandbox's.
    """

    installation: Installation
    sandboxed: bool


@contextmanager
def session(app: Application, provider: str) -> Iterator[Session]:
    """Put the migrations of `app` in place, with the settings that `provider` needs in force for this context.

    Flags and ledger are the configured ones in any case.

    Raises:
        UnknownProviderError: no such provider is registered.
        ConfigurationError: a variable has a wrong value.
        SandboxError: the sandbox does not start.
        CommandError: another command keeps using the sandbox, or its state cannot be kept.
    """
    settings = get_settings()
    with services(provider) as (reached, is_sandbox), use_settings(reached), app.running(settings) as installation:
        _say_if_flags_are_unknown(installation)
        yield Session(installation=installation, sandboxed=is_sandbox)


@contextmanager
def services(provider: str) -> Iterator[tuple[Settings, bool]]:
    """Settings that lead to the configured services, or without the keys for `provider` to the sandbox; is it that?

    Raises:
        UnknownProviderError, ConfigurationError, SandboxError, CommandError: as `session`.
    """
    settings = get_settings()
    missing = _missing_keys(settings, provider)
    if not missing:
        yield settings, False
        return
    names = " and ".join(missing)
    verb = "is" if len(missing) == 1 else "are"
    note(f"{names} {verb} not set: using the local sandbox, nothing leaves this machine")
    home = sandbox_home(settings)
    with sandbox_lock(home, wait_seconds=_LOCK_SECONDS), running_sandbox(home) as sandbox:
        yield sandboxed(settings, sandbox), True


def sandbox_home(settings: Settings) -> Path:
    """Where the sandbox and the copies of what it was given are kept between commands."""
    return settings.shim_home / "sandbox"


@contextmanager
def sandbox_lock(home: Path, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Keep the sandbox's state to one process: a second one would take the first one's arriving files for left-overs.

    Raises:
        CommandError: another process still has it after `wait_seconds`, or it cannot be kept there.
    """
    deadline = time.monotonic() + wait_seconds
    said = False
    with _lock_file(home) as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise CommandError(
                        f"another command is using the sandbox in {home}; wait until it has ended, or export the "
                        "addresses that `shim sandbox` printed",
                        ExitCode.SANDBOX,
                    ) from None
                if not said:
                    said = True
                    note(f"waiting for another command that is using the sandbox in {home}")
                time.sleep(_LOCK_POLL_SECONDS)
        yield


def _lock_file(home: Path) -> TextIO:
    try:
        for folder in (home.parent, home):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.fdopen(os.open(home / "lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "w")
    except OSError as error:
        raise CommandError(
            f"the sandbox cannot keep its state in {home}: {error.strerror}; set SHIM_HOME to a folder that can be "
            "written",
            ExitCode.SANDBOX,
        ) from error


def _missing_keys(settings: Settings, name: str) -> list[str]:
    """The variables that are missing for a provider; for `auto` one key is enough."""
    asked = list(PROVIDERS.values()) if name == "auto" else [provider_named(name)]
    missing = [each.key_variable for each in asked if each.secret(settings) is None]
    return missing if len(missing) == len(asked) else []


def _say_if_flags_are_unknown(installation: Installation) -> None:
    if has_no_flags_yet(installation.settings):
        note("there are no flags yet, so legacy serves every upload; `shim flags create` makes them")
        return
    problem = installation.router.status().error
    if problem is not None:
        note(f"{problem}; legacy serves every upload until the flags are known")
